//! The kinds of problem that any service may answer (RFC 9457).
//!
//! Owns their reasons, statuses, titles and remedies. `role` owns the type; a service adds kinds of
//! its own beside the errors that they stand for. docs/problems.md lists all of them, and a test
//! compares it with the constants.

use role::problem::ProblemType;

/// 400: the message is no request, for example because it has no path.
pub const MALFORMED: ProblemType =
    ProblemType::new("malformed", 400, "Malformed request").remedy("correct the peer that sent it");

/// 400: a `%` in path or query without two hexadecimal digits.
pub const PERCENT_ENCODING: ProblemType =
    ProblemType::new("percent_encoding", 400, "Bad percent-encoding").remedy("write % as %25");

/// 400: a part of the request that has to be UTF-8 is not.
pub const NOT_UTF8: ProblemType =
    ProblemType::new("not_utf8", 400, "Not UTF-8").remedy("encode the text as UTF-8");

/// 404: the service has no route for the path.
pub const NO_ROUTE: ProblemType = ProblemType::new("no_route", 404, "No such route").remedy("check the path");

/// 405: the path has no route for the method.
pub const METHOD: ProblemType =
    ProblemType::new("method", 405, "Method not allowed").remedy("use a method that Allow lists");

/// 503: the worker has as many requests in hand and waiting as it may.
pub const FULL: ProblemType = ProblemType::new("full", 503, "Limit and queue are full")
    .remedy("retry later, start more instances, or raise --limit or --queue");

/// 504: the deadline passed while the request waited for its turn.
pub const EXPIRED: ProblemType =
    ProblemType::new("expired", 504, "Expired in the queue").remedy("retry later, or start more instances");

/// 500: the handler panicked.
pub const PANIC: ProblemType =
    ProblemType::new("panic", 500, "Service failed").remedy("report it; the service's log says more");

/// 500: the answer cannot be written as JSON.
pub const BAD_ANSWER: ProblemType =
    ProblemType::new("bad_answer", 500, "Answer failed").remedy("report it; the service's log says more");

/// 400: a query parameter is not a number in its range.
pub const OUT_OF_RANGE: ProblemType = ProblemType::new("out_of_range", 400, "Parameter out of range");

/// 400: the body is not JSON.
pub const NOT_JSON: ProblemType = ProblemType::new("not_json", 400, "Not JSON").remedy("send JSON");

/// 422: the body is JSON of another shape.
pub const WRONG_SHAPE: ProblemType = ProblemType::new("wrong_shape", 422, "JSON of another shape");

/// 422: a field that has to be there is not.
pub const FIELD_MISSING: ProblemType = ProblemType::new("field_missing", 422, "Field missing");

/// 422: the value of a field breaks a rule.
pub const FIELD_INVALID: ProblemType = ProblemType::new("field_invalid", 422, "Field invalid");

/// 413: the value of a field has too many bytes.
pub const FIELD_TOO_LONG: ProblemType =
    ProblemType::new("field_too_long", 413, "Field too long").remedy("send less");

/// 400: an id that is empty or too long.
pub const BAD_ID: ProblemType = ProblemType::new("bad_id", 400, "Bad id");

/// 400: a cursor or position that the service did not give out.
pub const BAD_CURSOR: ProblemType =
    ProblemType::new("bad_cursor", 400, "Bad cursor").remedy("send one that an answer had");

/// 404: the route exists, and what it names does not.
pub const NOT_FOUND: ProblemType = ProblemType::new("not_found", 404, "Not found");

/// 409: the id belongs to something else already.
pub const ID_TAKEN: ProblemType =
    ProblemType::new("id_taken", 409, "Id taken").remedy("give what is new an id of its own");

/// 412: `If-Match` or `If-None-Match` does not hold.
pub const PRECONDITION: ProblemType = ProblemType::new("precondition", 412, "Precondition failed");

/// 415: a body of another media type.
pub const CONTENT_TYPE: ProblemType = ProblemType::new("content_type", 415, "Wrong content type");

/// 503: the store has more to do than it can.
pub const STORE_BUSY: ProblemType = ProblemType::new("store_busy", 503, "Store busy").remedy("retry later");

/// 504: the store did not finish within the time that the request had left.
pub const STORE_DEADLINE: ProblemType = ProblemType::new("store_deadline", 504, "Store too slow")
    .remedy("read it again to know what was done, or repeat the request with the same id");

/// 503: the store failed.
pub const STORE_FAILED: ProblemType =
    ProblemType::new("store_failed", 503, "Store failed").remedy("look at the service's log");

/// 503: the store cannot say if the change was made.
pub const MAYBE_COMMITTED: ProblemType = ProblemType::new("maybe_committed", 503, "Outcome unknown")
    .remedy("read it again to know, or repeat the request with the same id");
