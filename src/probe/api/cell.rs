//! What a path is in the words of a Kubernetes API server's own metrics. Pure.
//!
//! Separate because the server counts by verb, resource and scope, and a request of ours has to be found among those of
//! everybody else.

use crate::wire::Sample;

/// Requests that the server counts as one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// `GET` for one object, `LIST` for several.
    pub verb: &'static str,
    /// API group; empty for the core.
    pub group: String,
    /// Version of the group.
    pub version: String,
    /// Plural name of the resource; empty for what is none, such as `/readyz`.
    pub resource: String,
    /// `resource`, `namespace`, `cluster`, or empty for what is no resource.
    pub scope: &'static str,
    /// Part of an object, or the whole path of what is no resource.
    pub subresource: String,
}

impl Cell {
    /// The cell of a GET of this path, as the server itself parses it (`RequestInfo` and `CleanScope` of apiserver).
    #[must_use]
    pub fn of(path: &str) -> Self {
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = bare.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return Self::of_no_resource(bare),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, resource, more @ ..] if !is_part_of_namespace(resource) => {
                (Some(*namespace), [&[*resource], more].concat())
            }
            _ => (None, rest.to_vec()),
        };
        let (resource, name, subresource) = match rest.as_slice() {
            [resource] => (*resource, None, ""),
            [resource, name] => (*resource, Some(*name), ""),
            [resource, name, part, ..] => (*resource, Some(*name), *part),
            [] => return Self::of_no_resource(bare),
        };
        let scope = match (name, namespace) {
            (Some(_), _) => "resource",
            (None, Some(_)) => "namespace",
            (None, None) => "cluster",
        };
        let watches = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"));
        Self {
            verb: if watches {
                "WATCH"
            } else if name.is_some() {
                "GET"
            } else {
                "LIST"
            },
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            scope,
            subresource: subresource.to_owned(),
        }
    }

    fn of_no_resource(path: &str) -> Self {
        let empty = String::new;
        Self {
            verb: "GET",
            group: empty(),
            version: empty(),
            resource: empty(),
            scope: "",
            subresource: path.to_owned(),
        }
    }

    /// Whether a sample of `apiserver_request_duration_seconds` is of this cell.
    #[must_use]
    pub fn holds(&self, sample: &Sample) -> bool {
        sample.has("verb", self.verb)
            && sample.has("resource", &self.resource)
            && sample.has("group", &self.group)
            && sample.has("version", &self.version)
            && sample.has("subresource", &self.subresource)
            && sample.has("scope", self.scope)
    }

    /// Whether a sample of `etcd_request_duration_seconds` is of requests that this cell causes. Its labels have changed
    /// over the versions: `type` was a Go type (`*core.Namespace`), then the resource with its group, and is now two
    /// labels.
    #[must_use]
    pub fn causes(&self, sample: &Sample) -> bool {
        let operation = if self.verb == "GET" { "get" } else { "list" };
        if self.resource.is_empty() || !sample.labels.get("operation").is_some_and(|is| is.starts_with(operation)) {
            return false;
        }
        if sample.labels.contains_key("resource") {
            return sample.has("resource", &self.resource) && sample.has("group", &self.group);
        }
        let kind = sample.labels.get("type").map_or("", String::as_str);
        let full = format!("{}.{}", self.resource, self.group);
        kind == self.resource || kind == full || is_type_of(kind, &self.resource)
    }

    /// How people say it: `LIST namespaces (cluster)`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.resource.as_str() {
            "" => format!("{} {}", self.verb, self.subresource),
            resource => format!("{} {resource} ({} scope)", self.verb, self.scope),
        }
    }
}

/// The parts of a namespace itself, which are no resources inside of it.
fn is_part_of_namespace(part: &str) -> bool {
    matches!(part, "status" | "finalize")
}

/// Whether a Go type such as `*core.Namespace` is the one of this resource.
fn is_type_of(kind: &str, resource: &str) -> bool {
    let Some((_, name)) = kind.strip_prefix('*').and_then(|kind| kind.rsplit_once('.')) else { return false };
    let name = name.to_ascii_lowercase();
    let plural = match name.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{name}s"),
    };
    resource == plural || resource == format!("{name}es") || resource == name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Exposition, Totals};

    fn shown(path: &str) -> String {
        let cell = Cell::of(path);
        format!("{} {}/{} {} {} {}", cell.verb, cell.group, cell.version, cell.resource, cell.scope, cell.subresource)
    }

    #[test]
    fn paths_as_the_server_counts_them() {
        assert_eq!(shown("/api/v1/namespaces"), "LIST /v1 namespaces cluster ");
        assert_eq!(shown("/api/v1/namespaces/default?resourceVersion=0"), "GET /v1 namespaces resource ");
        assert_eq!(shown("/api/v1/namespaces/default/status"), "GET /v1 namespaces resource status");
        assert_eq!(shown("/api/v1/namespaces/a/pods?limit=5"), "LIST /v1 pods namespace ");
        assert_eq!(shown("/api/v1/namespaces/a/pods/p/log"), "GET /v1 pods resource log");
        assert_eq!(shown("/api/v1/pods?watch=true"), "WATCH /v1 pods cluster ");
        assert_eq!(
            shown("/apis/coordination.k8s.io/v1/namespaces/a/leases/l"),
            "GET coordination.k8s.io/v1 leases resource "
        );
        assert_eq!(shown("/readyz?verbose"), "GET /   /readyz");
        assert_eq!(shown("/api/v1"), "GET /   /api/v1");
    }

    #[test]
    fn samples_of_every_version_are_found() {
        let scrape = Exposition::parse(
            r#"
a_sum{verb="LIST",group="",version="v1",resource="pods",subresource="",scope="cluster",component="apiserver"} 1.5
a_sum{verb="LIST",group="",version="v1",resource="pods",subresource="",scope="namespace"} 7
a_count{verb="LIST",group="",version="v1",resource="pods",subresource="",scope="cluster"} 3
e_sum{operation="list",type="*core.Pod"} 1
e_sum{operation="list",type="pods"} 2
e_sum{operation="list",resource="pods",group=""} 4
e_sum{operation="get",type="*core.Pod"} 8
e_sum{operation="list",type="*core.NetworkPolicy"} 16
e_sum{operation="list",type="pods.metrics.k8s.io"} 32
"#,
        );
        let pods = Cell::of("/api/v1/pods");
        let of_requests = Totals::of(&scrape, "a", |sample| pods.holds(sample)).unwrap();
        assert_eq!((of_requests, of_requests.mean_ns()), (Totals { seconds: 1.5, count: 3.0 }, Some(5e8)));
        assert_eq!(scrape.sum_of("e_sum", |sample| pods.causes(sample)), Some(7.0));
        let policies = Cell::of("/apis/networking.k8s.io/v1/networkpolicies");
        assert_eq!(scrape.sum_of("e_sum", |sample| policies.causes(sample)), Some(16.0));
        assert_eq!(scrape.sum_of("e_sum", |sample| Cell::of("/readyz").causes(sample)), None);
        assert_eq!(Totals::of(&scrape, "a", |sample| policies.holds(sample)), None);
    }
}
