//! Does each request pay for a new connection?

use super::{Bottleneck, Budget, Facts, Rule, ms, percent};
use crate::model::{Advice, Prediction, Severity};

/// Connecting that takes over a third of a request is worth keeping.
const LIMIT: f64 = 0.33;

/// Below a millisecond nobody waits for it.
const LEAST_NS: f64 = 1e6;

/// The rule.
pub const RULE: Rule = Rule {
    id: "connections_not_kept",
    question: "Does each request pay for a new connection?",
    evidence: "`probe api` on new connections, never resumed",
    threshold: "when name, TCP and TLS take over a third of a request and over 1 ms",
    advice: "keep connections in the clients of that server (HTTP/2, keep-alive), or let TLS resume",
    against: &[],
    judge,
};

fn judge(facts: &Facts) -> Vec<Bottleneck> {
    let slow = |server: &crate::diagnose::facts::ApiServer| {
        let total = server.phase("total")?;
        let connect: f64 = ["dns", "tcp", "tls"].into_iter().filter_map(|phase| server.phase(phase)).sum();
        let tls = server.phase("tls").unwrap_or(0.0);
        if connect < LEAST_NS || connect < total * LIMIT {
            return None;
        }
        let rest = (total - connect).max(0.0);
        let predicted = Prediction {
            name: format!("diagnose.api{{phase=kept,target={}}}", server.name),
            unit: "ns".to_owned(),
            value: rest,
            low: rest / 2.0,
            high: rest * 2.0,
        };
        let text = format!(
            "a new connection to `{}` costs {}, {} of a request",
            server.name,
            ms(connect),
            percent(connect / total)
        );
        let check = format!("offloadctl probe api URL-of-{} --reuse", server.name);
        let advice = Advice::new("keep connections in its clients, or let TLS resume", Some(check))
            .of_setting(
                "keep-alive",
                Some(format!("the clients of {}", server.name)),
                Some("a connection a request".to_owned()),
                "kept connections",
            )
            .predicting(Some(predicted));
        let evidence = vec![format!("TLS handshake {} of {}", ms(tls), ms(total))];
        Some(Bottleneck {
            id: RULE.id,
            severity: Severity::Notice,
            text,
            evidence,
            cost_ns: connect,
            budget: Budget::Request,
            advice,
        })
    };
    facts.servers.iter().filter_map(slow).collect()
}
