//! Events to business services.
