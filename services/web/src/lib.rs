//! The aggregator: a member's page from the services that know the member.
