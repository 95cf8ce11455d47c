//! The proof that the crate reads HTTP/1.1 as its RFCs say: see `README` at the head of each module.

mod contract;
