//! The network cards on the way to the targets: which of them is asked to stamp, and why another one is not.
//!
//! Separate because it is a matter of interfaces, of which a thousand targets share a few, and because a card is never told
//! to stamp: its clock may be kept by another program, which would be disturbed.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::model::{CardState, Finding, Severity};
use crate::sys::route::{interface_name, interface_toward};
use crate::sys::stamp_support::stamp_support;
use crate::sys::stamping::Stampers;

/// The cards that lead to the targets.
#[derive(Debug, Default)]
pub struct Cards {
    /// By the number of their interface.
    known: BTreeMap<u32, Card>,
    /// Whether a question for a route was not answered: of a thousand targets one waits for that, and not each.
    is_unanswered: bool,
}

#[derive(Debug)]
struct Card {
    interface: String,
    state: CardState,
    target_count: usize,
}

impl Cards {
    /// Who is to stamp messages to this target, which leave from `bind` if given.
    pub fn toward(&mut self, address: SocketAddr, bind: Option<IpAddr>) -> Stampers {
        if self.is_unanswered {
            return Stampers::Kernel;
        }
        let number = match interface_toward(address, bind) {
            Ok(number) => number,
            // Whoever has no route, or may not ask for it, has no card; what is wrong with the target its attempts will tell.
            Err(error) => {
                self.is_unanswered = error.kind() == io::ErrorKind::WouldBlock;
                return Stampers::Kernel;
            }
        };
        let card = self.known.entry(number).or_insert_with(|| Card::look_at(number));
        card.target_count += 1;
        match card.state {
            CardState::On => Stampers::KernelAndCard,
            CardState::Absent | CardState::Off | CardState::OneWay | CardState::TimeProtocolOnly => Stampers::Kernel,
        }
    }

    /// Why a card that could stamp does not.
    pub fn findings(&self) -> Vec<Finding> {
        self.known.values().filter_map(Card::finding).collect()
    }
}

impl Card {
    fn look_at(number: u32) -> Self {
        let interface = interface_name(number).unwrap_or_default();
        // An interface whose driver tells nothing stamps nothing.
        let state = stamp_support(&interface).map_or(CardState::Absent, |support| support.card());
        Self { interface, state, target_count: 0 }
    }

    fn finding(&self) -> Option<Finding> {
        let interface = &self.interface;
        let reason = match self.state {
            CardState::Absent | CardState::On => return None,
            CardState::Off => {
                format!(
                    "could stamp and has not been told to; if no other program keeps its clock, `hwstamp_ctl -i {interface} -t 1 -r 1` tells it"
                )
            }
            CardState::OneWay => "stamps one way only".to_owned(),
            CardState::TimeProtocolOnly => "stamps what it receives only of a time protocol".to_owned(),
        };
        let targets = match self.target_count {
            1 => "one target".to_owned(),
            count => format!("{count} targets"),
        };
        let text =
            format!("no .kernel of stamps=hardware: the card of `{interface}`, which leads to {targets}, {reason}");
        Some(Finding::new("no_hardware_stamps", Severity::Info, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_has_no_card_and_nothing_is_said_of_it() {
        let mut cards = Cards::default();
        for address in ["127.0.0.1:9", "127.0.0.2:9", "[::1]:9"] {
            assert_eq!(cards.toward(address.parse().unwrap(), None), Stampers::Kernel);
        }
        assert_eq!((cards.known.len(), cards.known.values().next().unwrap().target_count), (1, 3));
        assert!(!cards.is_unanswered);
        assert_eq!(cards.findings(), []);
    }

    #[test]
    fn it_is_said_why_a_card_does_not_stamp_and_what_tells_it_to() {
        let said = |state, target_count| {
            let card = Card { interface: "eth7".to_owned(), state, target_count };
            card.finding().map(|finding| finding.text)
        };
        let text = said(CardState::Off, 3).unwrap();
        assert!(text.contains("`eth7`, which leads to 3 targets,") && text.contains("`hwstamp_ctl -i eth7 -t 1 -r 1`"));
        let text = said(CardState::TimeProtocolOnly, 1).unwrap();
        assert!(text.contains("leads to one target") && text.contains("only of a time protocol"), "{text}");
        assert_eq!((said(CardState::On, 1), said(CardState::Absent, 1)), (None, None));
    }
}
