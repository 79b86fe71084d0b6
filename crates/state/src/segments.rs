//! Segments: immutable compressed files (manifests, receipts, deletions) that rows point to. A
//! local folder here; the staging bucket with the control plane.
