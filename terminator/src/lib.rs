//! The HTTP edge: every request becomes a message on the bus.
