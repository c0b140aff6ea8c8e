//! Clusters of a real Kubernetes on hosts that are containers: `make test-cluster`. What hosts and Kubernetes are there is
//! in `docs/testing-clusters.md`.

mod bed;
mod by_hand;
mod diagnosis;
mod docker;
mod families;
mod launcher;
mod launching;
mod masters;
mod mishaps;
mod networks;
mod upgrading;
