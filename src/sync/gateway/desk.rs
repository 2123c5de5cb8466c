//! The desk of a gateway whose store is shared: reports wait here until the store has told what became of them.
//!
//! Separate from the machine, which decides, and from the shell, which sends. Pure: the simulated world has the same desk. A
//! report is judged when nothing is under way on its task, against what the store has told; its change is proposed, and whatever
//! the store tells next of that task decides. It is our change, and the report is answered; or another gateway's came first,
//! and the report is judged again. What the store answers to the proposal itself is not needed for that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::due::Slip;
use super::machine::{Machine, Moment, Whole};
use super::refusal::{Code, Refusal};
use crate::model::Stamp;
use crate::sync::message::{Leave, Outcome, Receipt, StatusReport};
use crate::sync::record::Change;
use crate::sync::store::shared::{Act, Event, Name, Owner, PLACES, Proposal};
use crate::sync::trace::AgentTrace;

/// Proposals of one transaction: etcd allows 128 operations, and each has one more inside.
pub const MOST_PROPOSALS: usize = 100;

/// Bytes of the payloads of one transaction, about: etcd takes a megabyte and a half.
const MOST_BYTES: usize = 1 << 20;

const _: () = assert!(MOST_PROPOSALS < PLACES as usize, "a place has its number");

/// What waits for the store.
#[derive(Debug, Default)]
pub struct Desk {
    queue: VecDeque<Job>,
    /// What waits behind something that is under way on the same name.
    aside: BTreeMap<Name, VecDeque<Job>>,
    under_way: BTreeMap<Name, UnderWay>,
    /// Not sent yet, in order.
    ready: VecDeque<(Name, u64)>,
    /// States whose reports are not all answered yet.
    wholes: Vec<Rest>,
    tickets: u64,
    waiting: usize,
    traced: Vec<Traced>,
}

/// A report that was traced and is durable.
#[derive(Debug)]
pub struct Traced {
    /// The number of its change.
    pub revision: u64,
    /// What its agent said.
    pub trace: AgentTrace,
    /// When it was received.
    pub received: Stamp,
    /// When it was decided.
    pub decided: Stamp,
}

#[derive(Debug)]
struct Job {
    what: What,
    slip: Arc<Slip>,
    at: usize,
}

#[derive(Debug)]
enum What {
    Report(StatusReport, Stamp),
    Leave(Leave),
    /// A task that a whole state does not tell of any more.
    Vanish(Arc<Whole>, String),
}

/// What is left of a whole state.
#[derive(Debug)]
struct Rest {
    whole: Arc<Whole>,
    /// The tasks that it does not tell of any more, once its reports are answered.
    vanished: Option<Vec<String>>,
    slip: Arc<Slip>,
}

#[derive(Debug)]
struct UnderWay {
    ticket: u64,
    proposal: Proposal,
    decided: Stamp,
    /// Who waits for it, and what the answer is if it comes true.
    job: Option<(Job, Receipt)>,
}

/// Proposals for one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Each with its number.
    pub tickets: Vec<(Name, u64)>,
    /// What they want.
    pub proposals: Vec<Proposal>,
}

impl Desk {
    /// Takes reports that were received at this moment; their places on the slip begin with 0.
    pub fn reports(&mut self, slip: &Arc<Slip>, reports: impl IntoIterator<Item = (usize, StatusReport)>, at: Stamp) {
        for (place, report) in reports {
            self.push(Job { what: What::Report(report, at), slip: Arc::clone(slip), at: place });
        }
    }

    /// Takes a goodbye, at once, so that the end of the connection behind it is none of another kind.
    pub fn leave(&mut self, machine: &mut Machine, now: Moment, slip: &Arc<Slip>, leave: Leave) {
        self.take_wishes(machine, now, None);
        self.waiting += 1;
        self.judge(machine, now, Job { what: What::Leave(leave), slip: Arc::clone(slip), at: 0 });
    }

    /// Takes a whole state: its reports, and what comes after them, for which the slip has one place beside its answers.
    pub fn state(&mut self, slip: &Arc<Slip>, (reports, whole): (Vec<StatusReport>, Whole), at: Stamp) {
        self.reports(slip, reports.into_iter().enumerate(), at);
        self.wholes.push(Rest { whole: Arc::new(whole), vanished: None, slip: Arc::clone(slip) });
    }

    /// What waits here.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// The next transaction; `None` if there is nothing to be sent.
    pub fn next(&mut self, machine: &mut Machine, now: Moment) -> Option<Flight> {
        self.take_wishes(machine, now, None);
        self.judge_all(machine, now);
        // A state whose last report was answered just now goes on at once: nobody else would ask for it.
        while self.finish_wholes(machine) {
            self.judge_all(machine, now);
        }
        let mut flight = Flight { tickets: Vec::new(), proposals: Vec::new() };
        let mut bytes = 0;
        while flight.proposals.len() < MOST_PROPOSALS
            && bytes < MOST_BYTES
            && let Some((name, ticket)) = self.ready.pop_front()
        {
            // What has been decided since it was made ready is not sent any more.
            let Some(under_way) = self.under_way.get(&name).filter(|known| known.ticket == ticket) else { continue };
            let proposal = &under_way.proposal;
            if flight.proposals.first().is_some_and(|first| first.is_removal() != proposal.is_removal()) {
                self.ready.push_front((name, ticket));
                break;
            }
            bytes += weight(proposal);
            flight.proposals.push(proposal.clone());
            flight.tickets.push((name, ticket));
        }
        (!flight.proposals.is_empty()).then_some(flight)
    }

    /// Takes what the store tells, and gives it to the machine.
    pub fn tell(&mut self, machine: &mut Machine, now: Moment, event: Event) {
        // What was wished for at the event before may be decided by this one.
        self.take_wishes(machine, now, None);
        match event {
            Event::Change(change) => {
                let name = Name::of(&change);
                machine.tell(now, Event::Change(change.clone()));
                self.decided(machine, now, &name, &change);
            }
            Event::Owner { node_id, owner } => {
                let told = Event::Owner { node_id: node_id.clone(), owner: owner.clone() };
                machine.tell(now, told);
                self.end(machine, now, &Name::Owner(node_id.clone()));
                self.refute(machine, now, node_id, owner.as_ref());
            }
            Event::Replaced => {}
        }
    }

    /// The store will not take these, for this reason.
    pub fn refuse(&mut self, machine: &mut Machine, now: Moment, flight: &Flight, refusal: &Refusal) {
        for (name, ticket) in &flight.tickets {
            if self.under_way.get(name).is_some_and(|known| known.ticket == *ticket)
                && let Some((job, _)) = self.end(machine, now, name).and_then(|ended| ended.job)
            {
                self.answer(&job, Err(refusal.clone()));
            }
        }
    }

    /// All that waits is answered with this: the store is away, or another one is in its place. The machine's wishes are gone.
    pub fn give_up(&mut self, machine: &mut Machine, now: Moment, refusal: &Refusal) {
        let names: Vec<Name> = self.under_way.keys().cloned().collect();
        for name in names {
            if let Some((job, _)) = self.end(machine, now, &name).and_then(|ended| ended.job) {
                self.answer(&job, Err(refusal.clone()));
            }
        }
        for wish in machine.take_wishes() {
            machine.release(now, &wish.name());
        }
        let aside = std::mem::take(&mut self.aside).into_values().flatten();
        let jobs: Vec<Job> = aside.chain(std::mem::take(&mut self.queue)).collect();
        jobs.iter().for_each(|job| self.answer(job, Err(refusal.clone())));
        for rest in self.wholes.drain(..) {
            rest.slip.fill(usize::MAX, Err(refusal.clone()));
        }
        self.ready.clear();
    }

    /// What was traced and is durable since the last time.
    pub fn take_traced(&mut self) -> Vec<Traced> {
        std::mem::take(&mut self.traced)
    }

    fn push(&mut self, job: Job) {
        self.waiting += 1;
        self.queue.push_back(job);
    }

    fn answer(&mut self, job: &Job, answer: Result<Receipt, Refusal>) {
        self.waiting = self.waiting.saturating_sub(1);
        job.slip.fill(job.at, answer);
    }

    /// Judges what waits, as far as a transaction has room.
    fn judge_all(&mut self, machine: &mut Machine, now: Moment) {
        while self.ready.len() < MOST_PROPOSALS
            && let Some(job) = self.queue.pop_front()
        {
            self.judge(machine, now, job);
        }
    }

    /// Judges one, unless something is under way on the same name.
    fn judge(&mut self, machine: &mut Machine, now: Moment, mut job: Job) {
        let name = job.name();
        if machine.is_pending(&name) {
            return self.aside.entry(name).or_default().push_back(job);
        }
        let judged = match &mut job.what {
            What::Report(report, _) => machine.report(now, report.clone()),
            What::Leave(leave) => machine.leave(now, leave).map(|()| known(machine.revision())),
            What::Vanish(whole, task_id) => {
                machine.vanish(now, whole, task_id);
                Ok(known(machine.revision()))
            }
        };
        match judged {
            Ok(receipt) if machine.is_pending(&name) => self.take_wishes(machine, now, Some((job, receipt))),
            judged => self.answer(&job, judged),
        }
    }

    /// What the machine wishes is under way from now on; the last of it is what somebody waits for.
    fn take_wishes(&mut self, machine: &mut Machine, now: Moment, mut job: Option<(Job, Receipt)>) {
        let wanted = job.as_ref().map(|(job, _)| job.name());
        for proposal in machine.take_wishes() {
            let (name, ticket) = (proposal.name(), self.tickets);
            self.tickets += 1;
            let job = job.take_if(|_| wanted.as_ref() == Some(&name));
            self.ready.push_back((name.clone(), ticket));
            self.under_way.insert(name, UnderWay { ticket, proposal, decided: now.at, job });
        }
        if let Some((job, _)) = job {
            self.answer(&job, Err(Refusal::new(Code::Overloaded, "another change of it waits for the store")));
        }
    }

    /// The store has told of a name that something may be under way on.
    fn decided(&mut self, machine: &mut Machine, now: Moment, name: &Name, told: &Change) {
        let Some(UnderWay { proposal, decided, job, .. }) = self.end(machine, now, name) else { return };
        let is_ours = match proposal.act {
            Act::Change(change) => change.numbered(0) == told.clone().numbered(0),
            Act::Claim(_) | Act::Release(_) => false,
        };
        let Some((mut job, receipt)) = job else { return };
        if !is_ours {
            return self.queue.push_front(job);
        }
        let revision = told.revision();
        if let What::Report(report, received) = &mut job.what
            && let Some(trace) = report.trace.take()
        {
            self.traced.push(Traced { revision, trace, received: *received, decided });
        }
        self.answer(&job, Ok(Receipt { revision, ..receipt }));
    }

    /// Nothing is under way on a name any more, and what waited for that is next.
    fn end(&mut self, machine: &mut Machine, now: Moment, name: &Name) -> Option<UnderWay> {
        let ended = self.under_way.remove(name);
        if ended.is_some() {
            machine.release(now, name);
        }
        for job in self.aside.remove(name).into_iter().flatten().rev() {
            self.queue.push_front(job);
        }
        ended
    }

    /// What only the owner of a node may say is not said any more by who was.
    fn refute(&mut self, machine: &mut Machine, now: Moment, node_id: String, owner: Option<&Owner>) {
        let name = Name::Node(node_id);
        let since = self.under_way.get(&name).and_then(|known| known.proposal.ownership);
        if since.is_some() && since != owner.map(|owner| owner.revision) {
            self.end(machine, now, &name);
        }
    }

    /// Goes on with states whose reports are answered; whether there was one.
    fn finish_wholes(&mut self, machine: &mut Machine) -> bool {
        let mut has_gone_on = false;
        for Rest { whole, vanished, slip } in std::mem::take(&mut self.wholes) {
            if slip.open() > 1 {
                self.wholes.push(Rest { whole, vanished, slip });
                continue;
            }
            has_gone_on = true;
            let is_new = vanished.is_none();
            let vanished = vanished.unwrap_or_else(|| machine.vanished(&whole));
            if !is_new || vanished.is_empty() {
                machine.agree(&whole, &vanished);
                slip.fill(usize::MAX, Ok(known(machine.revision())));
                continue;
            }
            slip.add(vanished.len());
            for task_id in vanished.clone() {
                let what = What::Vanish(Arc::clone(&whole), task_id);
                self.push(Job { what, slip: Arc::clone(&slip), at: usize::MAX });
            }
            self.wholes.push(Rest { whole, vanished: Some(vanished), slip });
        }
        has_gone_on
    }
}

impl Job {
    fn name(&self) -> Name {
        match &self.what {
            What::Report(report, _) => Name::Task(report.task_id.clone()),
            What::Leave(leave) => Name::Node(leave.node_id.clone()),
            What::Vanish(_, task_id) => Name::Task(task_id.clone()),
        }
    }
}

/// About something that is so already.
const fn known(revision: u64) -> Receipt {
    Receipt { outcome: Outcome::Stored, revision, version: 0, known_epoch: None }
}

/// About how many bytes it takes in a transaction.
fn weight(proposal: &Proposal) -> usize {
    match &proposal.act {
        Act::Change(Change::Task(task)) => 512 + task.payload.as_ref().map_or(0, |payload| payload.text().len()),
        _ => 256,
    }
}
