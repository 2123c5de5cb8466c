//! What the gateway does not take, and why: one list for every way in.
//!
//! Separate because HTTP, gRPC, the agents' WebSocket and the simulation answer with the same words.

use crate::sync::message::{ErrorBody, ErrorText};

/// The codes of gRPC that are answered.
pub mod grpc {
    /// It succeeded.
    pub const OK: u16 = 0;
    /// It means nothing.
    pub const INVALID_ARGUMENT: u8 = 3;
    /// The client's time is over.
    pub const DEADLINE_EXCEEDED: u8 = 4;
    /// There is none.
    pub const NOT_FOUND: u8 = 5;
    /// It may not.
    pub const PERMISSION_DENIED: u8 = 7;
    /// More than is taken.
    pub const RESOURCE_EXHAUSTED: u8 = 8;
    /// Not while things are as they are.
    pub const FAILED_PRECONDITION: u8 = 9;
    /// Somebody else was there first.
    pub const ABORTED: u8 = 10;
    /// It is no longer kept.
    pub const OUT_OF_RANGE: u8 = 11;
    /// Not spoken.
    pub const UNIMPLEMENTED: u8 = 12;
    /// Not now.
    pub const UNAVAILABLE: u8 = 14;
    /// Unknown who it is.
    pub const UNAUTHENTICATED: u8 = 16;
}

/// Why something was refused; the name is the `code` that programs see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 400: not JSON, not UTF-8, or cut off.
    InvalidJson,
    /// 401: no token or certificate that is known.
    Unauthorized,
    /// 403: it speaks for another node, or reads what is not its own.
    Forbidden,
    /// 404: there is no such task, node or path.
    NotFound,
    /// 405: the path has other methods.
    MethodNotAllowed,
    /// 408: the time that the client gave is over.
    DeadlineExceeded,
    /// 409: the same version with other content.
    VersionConflict,
    /// 409: another node that is heard has this task.
    OwnedElsewhere,
    /// 409: a later agent speaks for this node.
    OldEpoch,
    /// 409: a later agent has taken over this connection's node.
    Superseded,
    /// 410: what is asked for is no longer kept.
    Gone,
    /// 413: the body is too long.
    TooLarge,
    /// 415: the body is of another type.
    UnsupportedMediaType,
    /// 422: JSON that means nothing.
    InvalidReport,
    /// 426: agents speak WebSocket here.
    UpgradeRequired,
    /// 429: more than its share.
    RateLimited,
    /// 429: more tasks or nodes than are kept.
    TooMany,
    /// 503: too much at once.
    Overloaded,
    /// 503: the store does not take changes.
    StoreUnavailable,
}

impl Code {
    /// The status of an HTTP answer.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidJson => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::DeadlineExceeded => 408,
            Self::VersionConflict | Self::OwnedElsewhere | Self::OldEpoch | Self::Superseded => 409,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidReport => 422,
            Self::UpgradeRequired => 426,
            Self::RateLimited | Self::TooMany => 429,
            Self::Overloaded | Self::StoreUnavailable => 503,
        }
    }

    /// The code of a gRPC answer.
    #[must_use]
    pub const fn grpc_status(self) -> u8 {
        match self {
            Self::InvalidJson | Self::InvalidReport => grpc::INVALID_ARGUMENT,
            Self::Unauthorized => grpc::UNAUTHENTICATED,
            Self::Forbidden => grpc::PERMISSION_DENIED,
            Self::NotFound => grpc::NOT_FOUND,
            Self::MethodNotAllowed | Self::UnsupportedMediaType => grpc::UNIMPLEMENTED,
            Self::DeadlineExceeded => grpc::DEADLINE_EXCEEDED,
            Self::VersionConflict | Self::OwnedElsewhere | Self::UpgradeRequired => grpc::FAILED_PRECONDITION,
            Self::OldEpoch | Self::Superseded => grpc::ABORTED,
            Self::Gone => grpc::OUT_OF_RANGE,
            Self::TooLarge | Self::RateLimited | Self::TooMany => grpc::RESOURCE_EXHAUSTED,
            Self::Overloaded | Self::StoreUnavailable => grpc::UNAVAILABLE,
        }
    }

    /// The word that programs see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::VersionConflict => "version_conflict",
            Self::OwnedElsewhere => "owned_elsewhere",
            Self::OldEpoch => "old_epoch",
            Self::Superseded => "superseded",
            Self::Gone => "gone",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::InvalidReport => "invalid_report",
            Self::UpgradeRequired => "upgrade_required",
            Self::RateLimited => "rate_limited",
            Self::TooMany => "too_many",
            Self::Overloaded => "overloaded",
            Self::StoreUnavailable => "store_unavailable",
        }
    }

    /// Seconds after which it may be tried again; `None` where trying again will not help.
    #[must_use]
    pub const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::RateLimited | Self::Overloaded => Some(1),
            Self::StoreUnavailable => Some(5),
            Self::TooMany => Some(60),
            _ => None,
        }
    }

    const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("send `Authorization: Bearer TOKEN` with a token of the gateway's token file"),
            Self::Forbidden => Some("use the token or client certificate of that node"),
            Self::VersionConflict => Some("send changed content with a higher version"),
            Self::OwnedElsewhere => {
                Some("report the end of the task from its node first, or wait until that node is unreachable")
            }
            Self::OldEpoch => Some("begin with an epoch above `known_epoch`"),
            Self::Superseded => Some("let one agent speak for a node: give each its own node id"),
            Self::Gone => Some("read the whole view, then watch from its revision"),
            Self::TooLarge => Some("send fewer reports at once, or shorter payloads"),
            Self::UnsupportedMediaType => Some("send `Content-Type: application/json`"),
            Self::RateLimited | Self::Overloaded | Self::StoreUnavailable => {
                Some("try again after the time of Retry-After")
            }
            Self::DeadlineExceeded => Some("give the call more time"),
            Self::TooMany => Some("raise the limits of the gateway, or report the end of tasks that are over"),
            Self::InvalidJson
            | Self::InvalidReport
            | Self::UpgradeRequired
            | Self::NotFound
            | Self::MethodNotAllowed => Some("/openapi.json describes every request"),
        }
    }
}

/// A refusal with its sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// The key whose value is wrong, where it is worth trying again with another.
    pub key: Option<&'static str>,
    /// The epoch that is known of the node, where the one that was sent is older.
    pub known_epoch: Option<u64>,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), key: None, known_epoch: None }
    }

    /// What is sent.
    #[must_use]
    pub fn text(&self) -> ErrorText {
        ErrorText {
            code: self.code.word().to_owned(),
            message: self.message.clone(),
            hint: self.code.hint().map(str::to_owned),
            key: self.key.map(str::to_owned),
            known_epoch: self.known_epoch,
        }
    }

    /// What is sent as a body.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: self.text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_lists_each_word_with_its_code_of_grpc() {
        use Code::{
            DeadlineExceeded, Forbidden, Gone, InvalidJson, InvalidReport, MethodNotAllowed, NotFound, OldEpoch,
            Overloaded, OwnedElsewhere, RateLimited, StoreUnavailable, Superseded, TooLarge, TooMany, Unauthorized,
            UnsupportedMediaType, UpgradeRequired, VersionConflict,
        };
        let guide = include_str!("../../../docs/guide/gateway.md");
        let all = [
            DeadlineExceeded,
            Forbidden,
            Gone,
            InvalidJson,
            InvalidReport,
            MethodNotAllowed,
            NotFound,
            OldEpoch,
            Overloaded,
            OwnedElsewhere,
            RateLimited,
            StoreUnavailable,
            Superseded,
            TooLarge,
            TooMany,
            Unauthorized,
            UnsupportedMediaType,
            UpgradeRequired,
            VersionConflict,
        ];
        for code in all {
            let (number, word) = (format!("({}) |", code.grpc_status()), format!("`{}`", code.word()));
            let line = guide.lines().find(|line| line.starts_with("| ") && line.contains(&number));
            assert!(line.is_some_and(|line| line.contains(&word)), "{code:?}");
        }
    }
}
