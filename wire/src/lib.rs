//! The parts, over gRPC.
