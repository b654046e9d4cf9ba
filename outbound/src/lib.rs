//! HTTP calls to others.
