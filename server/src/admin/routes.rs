//! From a path to its answer.

use super::cluster::gather;
use super::health::{Question, ask};
use super::http::{Request, Response};
use super::lifecycle::Phase;
use super::node::Node;
use super::token::Token;
use super::{AdminParts, OwnMetrics, exposition, tier};
use crate::metrics::text::CONTENT_TYPE;
use std::sync::Arc;

/// Answers a request.
pub(super) async fn answer(
    parts: &AdminParts,
    own: &OwnMetrics,
    token: Option<&Token>,
    request: &Request,
) -> Response {
    let phase = parts.lifecycle.phase();
    let verbose = request
        .query
        .split('&')
        .any(|word| matches!(word, "verbose" | "verbose=true" | "verbose=1"));
    let health = |question| {
        let report = ask(question, &phase, verbose);
        Response::json(if report.ok { 200 } else { 503 }, &report)
    };
    match request.path.as_str() {
        "/livez" => return health(Question::Live),
        "/readyz" => return health(Question::Ready),
        "/healthz" => return health(Question::Well),
        "/metrics" => {
            return Response {
                status: 200,
                content_type: CONTENT_TYPE,
                body: exposition::render(parts, own, &phase),
            };
        }
        _ => {}
    }
    if token.is_some_and(|token| !token.admits(request.authorization.as_deref())) {
        return Response::error(
            401,
            "the request carries no valid token (Authorization: Bearer ...)",
        );
    }
    match request.path.strip_prefix("/v1/") {
        Some(rest) => match &phase {
            Phase::Starting(step) => Response::error(503, format!("the node starts: {step}")),
            Phase::Serving(node) | Phase::Draining(node) => described(node, &phase, rest).await,
        },
        None => no_such_path(),
    }
}

fn no_such_path() -> Response {
    Response::error(
        404,
        "there is /livez, /readyz, /healthz, /metrics, /v1/status, /v1/cluster, /v1/nodes, /v1/partitions, \
         /v1/partitions/TOPIC/INDEX, /v1/isr, /v1/tier",
    )
}

async fn described(node: &Arc<Node>, phase: &Phase, path: &str) -> Response {
    if path == "status" {
        return Response::json(200, &node.report(phase, &node.replicas()));
    }
    let wanted: Vec<&str> = path.split('/').collect();
    match wanted.as_slice() {
        ["cluster"] => Response::json(200, &gather(node, phase).await.cluster()),
        ["nodes"] => Response::json(200, &gather(node, phase).await.nodes()),
        ["partitions"] => Response::json(200, &gather(node, phase).await.partitions()),
        ["tier"] => match tier::report(node) {
            Some(report) => Response::json(200, &report),
            None => Response::error(404, "this node has no object tier: tier.url is not set"),
        },
        ["isr"] => Response::json(200, &gather(node, phase).await.isr()),
        ["partitions", topic, index] => {
            let found = match index.parse() {
                Ok(index) => gather(node, phase).await.one(topic, index),
                Err(_) => None,
            };
            match found {
                Some(report) => Response::json(200, &report),
                None => Response::error(404, format!("there is no partition {index} of a topic '{topic}'")),
            }
        }
        _ => no_such_path(),
    }
}
