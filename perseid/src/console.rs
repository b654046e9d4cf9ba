//! Placeholder until the page is there.
pub fn router<S: Clone + Send + Sync + 'static>(_ws: &[std::net::SocketAddr]) -> axum::Router<S> { axum::Router::new() }
