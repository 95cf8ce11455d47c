//! JSON documents of members on the store.
