//! Ordered key-value transactions: embedded, or FoundationDB.
