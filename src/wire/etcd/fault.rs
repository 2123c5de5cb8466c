//! Why a call to etcd failed, as one word to count it by and one sentence to read.
//!
//! Separate because the words are an interface (`failure_kinds` of a series) and the mapping is worth a table of cases:
//! the status code decides, and where one code stands for several faults, the constant that etcd publishes for each.

/// A call without the answer that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({kind})")]
pub struct Fault {
    /// The word it is counted by.
    pub kind: &'static str,
    /// What the server or the connection said.
    pub text: String,
}

/// No connection to send it on.
pub const NOT_CONNECTED: &str = "not_connected";

/// The connection broke while the answer was awaited.
pub const CONNECTION_LOST: &str = "connection_lost";

/// The server sent the call away before it looked at it, from one connection after another.
pub const UNTOUCHED: &str = "goaway";

/// The quota of the database is used up.
pub const NO_SPACE: &str = "no_space";

/// More bytes than the server takes in one request.
pub const TOO_LARGE: &str = "request_too_large";

/// More writes than the server takes in one transaction.
pub const TOO_MANY_OPERATIONS: &str = "too_many_operations";

/// Login refused, or none given where one is needed.
pub const AUTH: &str = "auth";

/// A login that was good is no longer: log in again and repeat.
pub const TOKEN: &str = "token";

/// The user may not do this.
pub const PERMISSION_DENIED: &str = "permission_denied";

/// The status codes of gRPC that etcd uses, by their numbers.
mod code {
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const UNAVAILABLE: i32 = 14;
    pub const DATA_LOSS: i32 = 15;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// What etcd says (api/v3rpc/rpctypes/error.go), where the code alone does not tell, and the word for it.
const SAID: [(i32, &str, &str); 17] = [
    (code::RESOURCE_EXHAUSTED, "database space exceeded", NO_SPACE),
    (code::RESOURCE_EXHAUSTED, "too many requests", "too_many_requests"),
    (code::RESOURCE_EXHAUSTED, "message larger than max", TOO_LARGE),
    (code::INVALID_ARGUMENT, "request is too large", TOO_LARGE),
    (code::INVALID_ARGUMENT, "too many operations in txn", TOO_MANY_OPERATIONS),
    (code::INVALID_ARGUMENT, "revision of auth store is old", TOKEN),
    (code::INVALID_ARGUMENT, "user name is empty", AUTH),
    (code::INVALID_ARGUMENT, "authentication failed", AUTH),
    (code::FAILED_PRECONDITION, "authentication is not enabled", AUTH),
    (code::FAILED_PRECONDITION, "not leader", "no_leader"),
    (code::UNAUTHENTICATED, "invalid auth token", TOKEN),
    (code::UNAVAILABLE, "no leader", "no_leader"),
    (code::UNAVAILABLE, "not leader", "no_leader"),
    (code::UNAVAILABLE, "leader changed", "leader_changed"),
    (code::UNAVAILABLE, "request timed out", "timeout"),
    (code::UNAVAILABLE, "corrupt", "corrupt"),
    (code::OUT_OF_RANGE, "has been compacted", "compacted"),
];

/// The word for a status.
#[must_use]
pub fn kind_of(status: i32, text: &str) -> &'static str {
    if let Some((_, _, kind)) = SAID.iter().find(|(code, said, _)| *code == status && text.contains(said)) {
        return kind;
    }
    match status {
        code::DEADLINE_EXCEEDED => "timeout",
        code::PERMISSION_DENIED => PERMISSION_DENIED,
        code::RESOURCE_EXHAUSTED => "too_many_requests",
        code::UNIMPLEMENTED => "not_implemented",
        code::UNAVAILABLE => "unavailable",
        code::DATA_LOSS => "corrupt",
        code::UNAUTHENTICATED => AUTH,
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_etcd_has_its_word() {
        let cases = [
            (8, "etcdserver: mvcc: database space exceeded", "no_space"),
            (8, "etcdserver: too many requests", "too_many_requests"),
            (8, "grpc: received message larger than max (3 vs. 2)", "request_too_large"),
            (3, "etcdserver: request is too large", "request_too_large"),
            (3, "etcdserver: user name is empty", "auth"),
            (3, "etcdserver: authentication failed, invalid user ID or password", "auth"),
            (16, "etcdserver: invalid auth token", "token"),
            (16, "something else", "auth"),
            (7, "etcdserver: permission denied", "permission_denied"),
            (14, "etcdserver: no leader", "no_leader"),
            (14, "etcdserver: request timed out, possibly due to previous leader failure", "timeout"),
            (14, "etcdserver: server stopped", "unavailable"),
            (11, "etcdserver: mvcc: required revision has been compacted", "compacted"),
            (2, "whatever", "other"),
        ];
        for (status, text, kind) in cases {
            assert_eq!(kind_of(status, text), kind, "{status} {text}");
        }
    }
}
