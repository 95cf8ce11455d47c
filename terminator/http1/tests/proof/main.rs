//! The proof that the crate reads and writes HTTP/1.1 as its RFCs say.
//!
//! `cases.txt` is a table of inputs and verdicts ([`cases`]). [`reference`] is a second parser of
//! requests, and [`responses`] one of responses; neither uses code of the crate. The fuzz targets
//! in `fuzz/` use the same modules.

mod cases;
mod contract;
mod differential;
mod driver;
mod hyper_oracle;
mod mutations;
mod outcome;
mod random;
mod reference;
mod responses;
mod server;
mod table;
