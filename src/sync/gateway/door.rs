//! The one door into the gateway: what becomes of a heartbeat, of reports, of a state and of a goodbye, whatever carried them.
//!
//! Separate so that HTTP, WebSocket and gRPC cannot differ: who may speak for whom, how much, what is counted and what an answer
//! rests on stand here once. Each of the three reads its own words and gives the answer its own form.

use std::collections::VecDeque;

use super::access::Caller;
use super::due::{Due, Standing};
use super::entries::Read;
use super::machine::Moment;
use super::rate::Kind;
use super::refusal::{Code, Refusal};
use super::service::{Durable, Place, Service};
use crate::model::Stamp;
use crate::sync::message::{
    Answers, Batch, FromAgent, FromGateway, FullState, Heartbeat, Leave, MOST_REPORTS, Pulse, Receipt, StatusReport,
};

/// Answers that may wait for the store; an agent that sends more without waiting is not read further until then.
pub const MOST_PENDING: usize = 64;

/// Somebody at the door.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    service: &'a Service,
    caller: &'a Caller,
}

impl<'a> Door<'a> {
    /// For this caller.
    #[must_use]
    pub const fn new(service: &'a Service, caller: &'a Caller) -> Self {
        Self { service, caller }
    }

    /// A sign of life that was received at this moment; `length` is that of its text in bytes.
    ///
    /// # Errors
    /// When the caller may not send it, or the machine refuses it.
    pub fn heartbeat(&self, received: Moment, heartbeat: &Heartbeat, length: usize) -> Result<Pulse, Refusal> {
        self.caller.speaks_for(&heartbeat.node_id)?;
        self.service.allow(&heartbeat.node_id, Kind::Heartbeat, 1)?;
        let pulse = self.service.heartbeat(received, heartbeat)?;
        self.service.counters.heartbeat_bytes(length);
        Ok(pulse)
    }

    /// One report, answered once it is durable.
    ///
    /// # Errors
    /// When the caller may not send it, the machine refuses it, or the store fails.
    pub async fn report(&self, report: StatusReport) -> Result<Receipt, Refusal> {
        self.caller.speaks_for(&report.node_id)?;
        self.service.allow(&report.node_id, Kind::Report, 1)?;
        if let Some(due) = self.service.offer_report(&report)? {
            return self.service.receipt(due).await;
        }
        let (receipt, place) = self.service.decide(|machine, now| machine.report(now, report))?;
        let receipt = receipt?;
        self.service.settled(Place { revision: receipt.revision, ..place }).await?;
        self.service.counters.report(receipt.outcome);
        Ok(receipt)
    }

    /// Several reports as one request, at most [`MOST_REPORTS`], answered once they are durable.
    ///
    /// # Errors
    /// When none of them can be taken, or the store fails.
    pub async fn batch(&self, batch: Read<Batch>, received: Stamp) -> Result<Answers, Refusal> {
        let count = batch.frame.reports.len() + batch.odd.len();
        if count > MOST_REPORTS {
            let message = format!("{count} reports in one batch, at most {MOST_REPORTS} are taken");
            return Err(Refusal::new(Code::InvalidReport, message));
        }
        let (id, due) = self.begin_batch(batch, received)?;
        Ok(Answers { id, answers: self.service.answers(due).await? })
    }

    /// Everything that a node knows, answered once it is durable.
    ///
    /// # Errors
    /// As [`Door::batch`].
    pub async fn state(&self, state: Read<FullState>) -> Result<Answers, Refusal> {
        let (id, due) = self.begin_state(state)?;
        Ok(Answers { id, answers: self.service.answers(due).await? })
    }

    /// A goodbye, answered with the revision once it is durable.
    ///
    /// # Errors
    /// As [`Door::report`].
    pub async fn leave(&self, leave: &Leave) -> Result<u64, Refusal> {
        match self.begin_leave(leave)? {
            Parting::At(place) => self.service.settled(place).await.map(|()| place.revision),
            Parting::Due(due) => self.service.receipt(due).await.map(|receipt| receipt.revision),
        }
    }

    fn begin_batch(&self, batch: Read<Batch>, received: Stamp) -> Result<(u64, Due), Refusal> {
        let Read { frame: Batch { id, reports }, odd } = batch;
        Ok((id, self.service.reports(self.caller, (reports, odd), received)?))
    }

    fn begin_state(&self, state: Read<FullState>) -> Result<(u64, Due), Refusal> {
        self.caller.speaks_for(&state.frame.node_id)?;
        Ok((state.frame.id, self.service.state(state)?))
    }

    fn begin_leave(&self, leave: &Leave) -> Result<Parting, Refusal> {
        self.caller.speaks_for(&leave.node_id)?;
        self.service.allow(&leave.node_id, Kind::Report, 1)?;
        if let Some(due) = self.service.offer_leave(leave)? {
            return Ok(Parting::Due(due));
        }
        let (left, place) = self.service.decide(|machine, now| machine.leave(now, leave))?;
        left.map(|()| Parting::At(place))
    }
}

/// A goodbye that was taken, and what its answer waits for.
enum Parting {
    At(Place),
    Due(Due),
}

/// A frame of an agent as it was read.
pub struct Heard {
    /// When it came.
    pub received: Moment,
    /// The length of its text in bytes.
    pub length: usize,
    /// The form in which it wants its answer.
    pub form: Form,
    /// What it says.
    pub frame: Result<Read<FromAgent>, Refusal>,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON text.
    Json,
    /// A message of the gRPC interface, with the containers that the answers are about in their order.
    Typed(Vec<String>),
}

/// A frame of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What it says.
    pub frame: FromGateway,
    /// In which form.
    pub form: Form,
}

/// What is to be done after a frame.
pub enum Then {
    /// Its answer waits until it is durable, or there is none.
    Nothing,
    /// This is to be said.
    Send(Said),
    /// The connection ends, after this.
    Close(Option<(Said, Code)>),
}

/// The agent of a node on a connection that lives as long as it does: frames have an order, and a frame is answered while earlier
/// ones still wait for the store.
pub struct Talk<'a> {
    service: &'a Service,
    caller: Caller,
    node_id: String,
    /// The epoch that was taken on this connection.
    epoch: Option<u64>,
    pending: VecDeque<(Due, u64, Form)>,
}

impl<'a> Talk<'a> {
    /// With the agent of a node.
    #[must_use]
    pub fn new(service: &'a Service, node_id: String) -> Self {
        Self { service, caller: Caller::Node(node_id.clone()), node_id, epoch: None, pending: VecDeque::new() }
    }

    /// The connection is there. Unless it is refused, [`Talk::end`] tells when it is not any more.
    ///
    /// # Errors
    /// When the machine refuses it, or the store takes nothing.
    pub fn begin(&self) -> Result<(), Refusal> {
        self.service.connect(&self.node_id)
    }

    /// The connection is gone.
    pub fn end(&self) {
        self.service.disconnect(&self.node_id);
    }

    /// How many answers wait for the store.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The next answer that may be told now; one of a store that failed is a refusal.
    pub fn settled(&mut self, known: Durable) -> Option<Said> {
        let (due, id, form) = self.pending.pop_front()?;
        match self.service.standing(due, known) {
            Standing::Known(answers) => Some(Said { frame: FromGateway::Answers(Answers { id, answers }), form }),
            Standing::Lost(refusal) => Some(self.refuse(&refusal)),
            Standing::Open(due) => {
                self.pending.push_front((due, id, form));
                None
            }
            Standing::Filled(..) => None,
        }
    }

    /// Takes a frame.
    pub fn frame(&mut self, heard: Heard) -> Then {
        let Heard { received, length, form, frame } = heard;
        let read = match frame {
            Ok(read) => read,
            Err(refusal) => return Then::Send(self.refuse(&refusal)),
        };
        let epoch = read.frame.epoch();
        match self.take(received, length, read, form) {
            Ok(then) => then,
            // An epoch that was taken here before is the agent's own, and another agent has come; an older one is what it
            // sent before it knew better.
            Err(refusal) if matches!(refusal.code, Code::OldEpoch) && epoch.is_some() && epoch == self.epoch => {
                self.close(&Refusal { code: Code::Superseded, ..refusal })
            }
            Err(refusal) if matches!(refusal.code, Code::Forbidden) => self.close(&refusal),
            Err(refusal) => Then::Send(self.refuse(&refusal)),
        }
    }

    fn take(&mut self, received: Moment, length: usize, read: Read<FromAgent>, form: Form) -> Result<Then, Refusal> {
        let door = Door::new(self.service, &self.caller);
        let odd = read.odd;
        let (id, due) = match read.frame {
            FromAgent::Heartbeat(heartbeat) => {
                let pulse = door.heartbeat(received, &heartbeat, length)?;
                self.epoch = Some(heartbeat.epoch);
                return Ok(Then::Send(Said { frame: FromGateway::Pulse(pulse), form }));
            }
            FromAgent::Leave(leave) => return door.begin_leave(&leave).map(|_| Then::Close(None)),
            FromAgent::Reports(batch) => {
                // A message is in the name of one node as a whole; a batch of JSON is not.
                if let (Form::Typed(_), Some(first)) = (&form, batch.reports.first()) {
                    self.caller.speaks_for(&first.node_id)?;
                }
                door.begin_batch(Read { frame: batch, odd }, received.at)?
            }
            FromAgent::State(state) => {
                let epoch = state.epoch;
                let begun = door.begin_state(Read { frame: state, odd })?;
                self.epoch = Some(epoch);
                begun
            }
        };
        self.pending.push_back((due, id, form));
        Ok(Then::Nothing)
    }

    fn close(&self, refusal: &Refusal) -> Then {
        Then::Close(Some((self.refuse(refusal), refusal.code)))
    }

    /// A refusal as a frame, counted.
    #[must_use]
    pub fn refuse(&self, refusal: &Refusal) -> Said {
        self.service.counters.refused(refusal.code);
        Said { frame: FromGateway::Error(refusal.text()), form: Form::Json }
    }
}
