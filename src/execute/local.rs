//! Asks the own engine.

use std::sync::Arc;

use http::{HeaderValue, Method, Response};

use super::{Asked, Executor, Fail, headers, relay};
use crate::body::Body;
use crate::decide::{Pace, Route};
use crate::dial;
use crate::model::api_path::ApiPath;
use crate::model::{ApiRange, ApiVersion, Cluster};

/// The path under which the engine is asked, and the version if it had to be changed.
pub(super) struct Versioned {
    pub(super) path: String,
    pub(super) changed: Option<HeaderValue>,
}

impl Versioned {
    /// The path under the version that is nearest to `wanted`. Without a range, or one wanted, as it is.
    pub(super) fn new(path: &ApiPath, wanted: Option<ApiVersion>, range: Option<ApiRange>) -> Self {
        let Some(wanted) = wanted else { return Self { path: path.canonical(), changed: None } };
        let clamped = range.map_or(wanted, |range| range.clamp(wanted));
        let is_same = path.version() == Some(clamped);
        Self {
            path: if is_same { path.canonical() } else { path.with_version(clamped) },
            changed: (clamped != wanted).then(|| HeaderValue::from_str(&clamped.to_string()).ok()).flatten(),
        }
    }
}

impl Executor {
    pub(super) async fn local(
        &self,
        route: &Route,
        asked: &mut Asked,
        cluster: &Arc<Cluster>,
    ) -> Result<Response<Body>, Fail> {
        let versioned = clamp(route, &asked.path, cluster.me().api)?;
        let upgrade = asked.allowed_upgrade(route);
        let sent = headers::for_engine(&asked.headers, upgrade.as_ref());
        let query = asked.query.clone();
        let request = asked.request(&versioned.path, &query, sent)?;
        let node = || cluster.me().shown.to_string();
        let answer = async {
            if upgrade.is_some() {
                self.engine.upgrade(request).await
            } else {
                self.engine.request(request).await
            }
        };
        let answer = if route.pace == Pace::Plain && asked.method == Method::GET {
            let after = self.limits.plain_get;
            tokio::time::timeout(after, answer).await.map_err(|_| Fail::Silent { node: node(), after })?
        } else {
            answer.await
        };
        let answer = answer.map_err(|source| match source {
            dial::Fail::Unfinished { .. } => Fail::Body { source: source.into() },
            source => Fail::Engine { node: node(), source },
        })?;
        let mut response = relay::relay(self, answer, asked, route, upgrade.is_some(), &node())?;
        if let Some(version) = versioned.changed {
            response.headers_mut().insert(headers::API_VERSION, version);
        }
        Ok(response)
    }
}

/// Clients pin versions that a newer or older engine refuses, so the version is brought into the engine's range.
///
/// Not for pruning volumes: below 1.42 that deletes named volumes too, so another version means other data.
fn clamp(route: &Route, path: &ApiPath, range: Option<ApiRange>) -> Result<Versioned, Fail> {
    let versioned = Versioned::new(path, path.version(), range);
    if let (Some(clamped), Some(asked), "/volumes/prune") =
        (&versioned.changed, path.version(), route.pattern)
    {
        let clamped = String::from_utf8_lossy(clamped.as_bytes()).into_owned();
        return Err(Fail::OldPrune { asked: asked.to_string(), clamped });
    }
    Ok(versioned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::table::route;

    fn range(min: &str, max: &str) -> Option<ApiRange> {
        Some(ApiRange { min: ApiVersion::parse(min).unwrap(), max: ApiVersion::parse(max).unwrap() })
    }

    fn clamped(method: &Method, path: &str, engine: Option<ApiRange>) -> Result<Versioned, Fail> {
        let path = ApiPath::parse(path).unwrap();
        clamp(route(method, &path), &path, engine)
    }

    #[test]
    fn a_version_is_brought_into_the_engines_range_and_said() {
        let rows = [
            ("/v1.41/containers/json", range("1.12", "1.41"), "/v1.41/containers/json", None),
            ("/v1.45/containers/json", range("1.12", "1.41"), "/v1.41/containers/json", Some("1.41")),
            ("/v1.24/containers/json", range("1.44", "1.52"), "/v1.44/containers/json", Some("1.44")),
            ("/containers/json", range("1.44", "1.52"), "/containers/json", None),
            ("/v1.99/containers/json", None, "/v1.99/containers/json", None),
            (
                "/v1.9/images/repo/v1.2/json",
                range("1.12", "1.41"),
                "/v1.12/images/repo/v1.2/json",
                Some("1.12"),
            ),
        ];
        for (asked, engine, path, said) in rows {
            let versioned = clamped(&Method::GET, asked, engine).unwrap();
            assert_eq!(versioned.path, path, "{asked}");
            assert_eq!(versioned.changed.as_ref().map(|v| v.to_str().unwrap()), said, "{asked}");
        }
    }

    #[test]
    fn pruning_volumes_is_never_asked_under_another_version() {
        let refused = clamped(&Method::POST, "/v1.45/volumes/prune", range("1.12", "1.41"));
        assert!(matches!(refused, Err(Fail::OldPrune { .. })));
    }
}
