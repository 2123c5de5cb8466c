//! The part of CRI v1 that is used, with its true names and numbers. Unknown fields are skipped, as protobuf has it.
//!
//! Written down here and not generated, as etcd's and containerd's are.

use std::collections::HashMap;

use prost::Message;

/// The methods.
pub const VERSION: &str = "/runtime.v1.RuntimeService/Version";
pub const STATUS: &str = "/runtime.v1.RuntimeService/Status";
pub const RUN_SANDBOX: &str = "/runtime.v1.RuntimeService/RunPodSandbox";
pub const STOP_SANDBOX: &str = "/runtime.v1.RuntimeService/StopPodSandbox";
pub const REMOVE_SANDBOX: &str = "/runtime.v1.RuntimeService/RemovePodSandbox";
pub const LIST_SANDBOXES: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
pub const CREATE: &str = "/runtime.v1.RuntimeService/CreateContainer";
pub const START: &str = "/runtime.v1.RuntimeService/StartContainer";
pub const STOP: &str = "/runtime.v1.RuntimeService/StopContainer";
pub const REMOVE: &str = "/runtime.v1.RuntimeService/RemoveContainer";
pub const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
pub const CONTAINER_STATUS: &str = "/runtime.v1.RuntimeService/ContainerStatus";
pub const EVENTS: &str = "/runtime.v1.RuntimeService/GetContainerEvents";
pub const PULL_IMAGE: &str = "/runtime.v1.ImageService/PullImage";
pub const REMOVE_IMAGE: &str = "/runtime.v1.ImageService/RemoveImage";
pub const LIST_IMAGES: &str = "/runtime.v1.ImageService/ListImages";

/// How far namespaces of a process reach.
pub const OF_POD: i32 = 0;
pub const OF_CONTAINER: i32 = 1;
pub const OF_NODE: i32 = 2;

/// The states of a container.
pub const CREATED: i32 = 0;
pub const RUNNING: i32 = 1;
pub const EXITED: i32 = 2;

/// The state of a sandbox whose process runs.
pub const READY: i32 = 0;

/// What happened to a container, in events.
pub const CREATED_EVENT: i32 = 0;
pub const STARTED_EVENT: i32 = 1;
pub const STOPPED_EVENT: i32 = 2;
pub const DELETED_EVENT: i32 = 3;

/// What the runtime is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct VersionResponse {
    /// Its name.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
}

/// How the runtime is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusResponse {
    /// By its conditions.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
}

/// Conditions.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeStatus {
    /// Each with its name.
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Condition {
    /// As `NetworkReady`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Whether it holds.
    #[prost(bool, tag = "2")]
    pub holds: bool,
    /// Why not.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// One sandbox, container or image by its id, as several requests and answers have it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Id {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// What a sandbox is called.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SandboxMetadata {
    /// Its Pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its Pod's id.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// Its Pod's namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// What a sandbox is to be.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SandboxConfig {
    /// Its name.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<SandboxMetadata>,
    /// Its host name; none in the node's network.
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// Its labels.
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
    /// Its namespaces.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxSandbox>,
}

/// What only Linux has.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LinuxSandbox {
    /// Its namespaces.
    #[prost(message, optional, tag = "2")]
    pub security: Option<SandboxSecurity>,
}

/// What a sandbox shares.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SandboxSecurity {
    /// Its namespaces.
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<Namespaces>,
}

/// How far each namespace reaches.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Namespaces {
    /// That of the network.
    #[prost(int32, tag = "1")]
    pub network: i32,
    /// That of processes.
    #[prost(int32, tag = "2")]
    pub processes: i32,
}

/// Wants a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RunSandboxRequest {
    /// What it is to be.
    #[prost(message, optional, tag = "1")]
    pub config: Option<SandboxConfig>,
}

/// Which sandboxes are wanted.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListSandboxesRequest {
    /// None for all.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<SandboxFilter>,
}

/// A filter.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SandboxFilter {
    /// All of these labels.
    #[prost(map = "string, string", tag = "3")]
    pub labels: HashMap<String, String>,
}

/// Sandboxes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListSandboxesResponse {
    /// All that the filter lets through.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Sandbox>,
}

/// A sandbox as a list has it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whether it runs.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Its labels.
    #[prost(map = "string, string", tag = "5")]
    pub labels: HashMap<String, String>,
}

/// An image by its name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImageSpec {
    /// Its name.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// What a container is called in its sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerMetadata {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// What a container is to be.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerConfig {
    /// Its name.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// Of which image.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// What it runs.
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// Its labels.
    #[prost(map = "string, string", tag = "9")]
    pub labels: HashMap<String, String>,
    /// Its namespaces.
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainer>,
}

/// What only Linux has.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LinuxContainer {
    /// Its namespaces.
    #[prost(message, optional, tag = "2")]
    pub security: Option<ContainerSecurity>,
}

/// What a container shares.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ContainerSecurity {
    /// Its namespaces.
    #[prost(message, optional, tag = "3")]
    pub namespaces: Option<Namespaces>,
}

/// Wants a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateRequest {
    /// In which sandbox.
    #[prost(string, tag = "1")]
    pub sandbox: String,
    /// What it is to be.
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    /// What the sandbox was to be.
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<SandboxConfig>,
}

/// Wants an end.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StopRequest {
    /// Of which container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// How many seconds it has; 0 for none.
    #[prost(int64, tag = "2")]
    pub timeout: i64,
}

/// Wants all containers.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ListContainersRequest {}

/// Containers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListContainersResponse {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

/// A container as a list has it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Container {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The sandbox that it is in.
    #[prost(string, tag = "2")]
    pub sandbox: String,
    /// Its name.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    /// Of which image.
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    /// How far it has come.
    #[prost(int32, tag = "6")]
    pub state: i32,
    /// When it was made, in nanoseconds.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
    /// Its labels.
    #[prost(map = "string, string", tag = "8")]
    pub labels: HashMap<String, String>,
}

/// How one container is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatusResponse {
    /// As far as it has come.
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
}

/// How a container is.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatus {
    /// How far it has come.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// When it was made, in nanoseconds.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// When it was started, in nanoseconds; 0 for never.
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// When it ended, in nanoseconds; 0 for never.
    #[prost(int64, tag = "6")]
    pub finished_at: i64,
    /// How it ended.
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
}

/// An image to be pulled or removed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImageRequest {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// Wants all images.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ListImagesRequest {}

/// Images.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListImagesResponse {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<Image>,
}

/// An image as a list has it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Image {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What it is called.
    #[prost(string, repeated, tag = "2")]
    pub tags: Vec<String>,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerEvent {
    /// Of which container or sandbox.
    #[prost(string, tag = "1")]
    pub container: String,
    /// What happened.
    #[prost(int32, tag = "2")]
    pub kind: i32,
    /// When, in nanoseconds.
    #[prost(int64, tag = "3")]
    pub created_at: i64,
}
