//! Open-loop load generator, comparison with peers, reports.
