//! Workloads against a system under test: one folder or file a system.

pub mod cri;
pub mod etcd;
pub mod heartbeat;
pub mod protocol;
