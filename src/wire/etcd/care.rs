//! What keeps a cluster in order: members, alarms, compaction and defragmentation.
//!
//! Separate from the calls that are measured: these are asked before and after, and may take their time.

use std::time::Duration;

use bytes::Bytes;

use super::client::{Link, span};
use super::fault::Fault;
use super::interface::{
    AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse, DefragmentRequest,
    DefragmentResponse, MemberListRequest, MemberListResponse, RangeRequest, RangeResponse,
};
use super::unary::Call;
use crate::wire::grpc::frame;

/// How long a member may take to forget, or to write its database anew; it serves nobody meanwhile.
const LONG_WORK: Duration = Duration::from_secs(60);

/// The action that takes an alarm back.
const DEACTIVATE: i32 = 2;

impl Link {
    /// Whether the alarm is raised that the quota is used up.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn is_out_of_space(&self) -> Result<bool, Fault> {
        Ok(!self.full_members().await?.is_empty())
    }

    /// How many members vote.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn voter_count(&self) -> Result<usize, Fault> {
        let answer: MemberListResponse = self.ask(Call::MemberList, &MemberListRequest {}).await?;
        Ok(answer.members.iter().filter(|member| !member.is_learner).count())
    }

    /// Takes back the alarms that the quota is used up.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn disarm(&self) -> Result<(), Fault> {
        for member_id in self.full_members().await? {
            let message = AlarmRequest { action: DEACTIVATE, member_id, alarm: AlarmType::Nospace as i32 };
            self.ask::<AlarmResponse>(Call::Alarm, &message).await?;
        }
        Ok(())
    }

    /// Forgets what every key was before the present.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn compact(&self) -> Result<(), Fault> {
        let message = RangeRequest { key: Bytes::from_static(b"ofl-"), count_only: true, ..RangeRequest::default() };
        let present: RangeResponse = self.ask(Call::Range, &message).await?;
        let revision = present.header.map_or(0, |header| header.revision);
        let message = CompactionRequest { revision, physical: true };
        in_time(self.call::<CompactionResponse>(Call::Compact, frame(&message))).await.map(drop)
    }

    /// Has this member give back the room that it does not use.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn defragment(&self) -> Result<(), Fault> {
        in_time(self.call::<DefragmentResponse>(Call::Defragment, frame(&DefragmentRequest {}))).await.map(drop)
    }

    /// The keys below a prefix with their values, so many at most.
    ///
    /// # Errors
    /// With the word for what went wrong.
    pub async fn entries(&self, prefix: &[u8], limit: i64) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let (key, range_end) = span(prefix);
        let answer: RangeResponse =
            self.ask(Call::Range, &RangeRequest { key, range_end, limit, ..RangeRequest::default() }).await?;
        Ok(answer.kvs.into_iter().map(|pair| (pair.key, pair.value)).collect())
    }

    /// The members that have raised the alarm.
    async fn full_members(&self) -> Result<Vec<u64>, Fault> {
        let answer: AlarmResponse = self.ask(Call::Alarm, &AlarmRequest::default()).await?;
        let full = answer.alarms.iter().filter(|member| member.alarm == AlarmType::Nospace as i32);
        Ok(full.map(|member| member.member_id).collect())
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = |_| Err(Fault { kind: "timeout", text: format!("no answer within {} s", LONG_WORK.as_secs()) });
    tokio::time::timeout(LONG_WORK, answer).await.unwrap_or_else(late)
}
