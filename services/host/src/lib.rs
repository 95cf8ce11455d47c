//! What makes a service ten lines: routes, hello, limits, drain, events.
