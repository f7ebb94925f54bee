//! Files of volumes, and of the host where that is allowed: list, get, delete, rename, put.
//!
//! A request comes in, an answer goes out. What a path means is settled twice: by its text in [`query`], and by the
//! kernel in [`confine`], which opens nothing outside of the volume or the host's mount. Nothing here ever joins a path
//! that somebody sent onto one of this machine.

mod change;
mod conditions;
mod confine;
mod download;
mod fail;
mod guard;
mod jobs;
mod list;
mod place;
mod query;
mod upload;
mod upload_form;

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Map, Value};

use self::confine::Root;
pub use self::fail::Fail;
use self::guard::Guard;
use self::jobs::Jobs;
use self::place::{Ground, Place};
use self::query::{Below, Query};
use super::empty;
use crate::body::Body;
use crate::config::Config;
use crate::decide;
use crate::dial::Engine;
use crate::execute::{self, Asked};
use crate::shutdown::Shutdown;

/// 64 KiB of JSON: two paths have at most 4 KiB each.
const RENAME_BYTES: usize = 64 << 10;

/// Does what is asked with files. One for the whole process.
pub struct Browse {
    config: Arc<Config>,
    engine: Engine,
    ground: Arc<Ground>,
    jobs: Jobs,
    listings: list::Bounds,
}

impl Browse {
    /// Takes the data directory for uploads under way; what an earlier process left of them is removed.
    pub fn new(config: &Arc<Config>, engine: Engine, shutdown: Shutdown) -> Self {
        upload::clean(&config.data);
        let ground = Ground { host: config.host_root.clone(), guard: Guard::new(&config.data) };
        let (jobs, listings) = (Jobs::new(&config.limits, shutdown), list::Bounds::new(&config.limits));
        Self { config: Arc::clone(config), engine, ground: Arc::new(ground), jobs, listings }
    }

    /// Does it on this node.
    ///
    /// # Errors
    /// [`Fail`]; nothing of an answer has been sent then.
    pub(super) async fn answer(
        &self,
        what: decide::Browse,
        mut asked: Asked,
    ) -> Result<Response<Body>, Fail> {
        let query = Query::parse(asked.path.decoded(), &asked.query)?;
        match what {
            decide::Browse::List => {
                let at = query.path()?;
                let (place, at) = self.place(&query, at).await?;
                let bounds = self.listings.clone();
                let entries = self.within(place, move |root| list::read(root, &at, &bounds)).await?;
                Ok(list::response(entries))
            }
            decide::Browse::Get => {
                let at = query.path()?;
                let (place, at) = self.place(&query, at).await?;
                let name = at.clone();
                let file = self.within(place, move |root| download::open(root, &at)).await?;
                Ok(download::response(file, &name, &asked.headers, &self.jobs))
            }
            decide::Browse::Delete => {
                let at = query.path()?;
                let (place, at) = self.place(&query, at).await?;
                self.within(place, move |root| change::delete(root, &at)).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            decide::Browse::Rename => {
                let (from, to) = renamed(&mut asked).await?;
                let (place, from) = self.place(&query, from).await?;
                let to = self.inside(&query, to)?;
                self.within(place, move |root| change::rename(root, &from, &to)).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            decide::Browse::Put => self.put(&query, asked).await,
        }
    }

    /// The file part comes first, so the bytes wait in the data directory until it is known where they go.
    async fn put(&self, query: &Query, asked: Asked) -> Result<Response<Body>, Fail> {
        // Before a byte of it is read: where nothing may be put, nothing has to be sent.
        let place = self.named(query).await?;
        let limit = self.config.browse.upload_limit;
        let form = upload_form::read(asked, &self.config.data, limit, &self.jobs).await?;
        let at = query.destination.as_ref().or(form.destination.as_ref()).ok_or(Fail::NoDestination)?;
        let at = self.inside(query, Below::parse(at.as_bytes())?)?;
        let (file, name) = (form.file, form.name);
        self.within(place, move |root| upload::install(root, &at, &name, file)).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Where a path leads: which root is meant, and the path below it.
    async fn place(&self, query: &Query, at: Below) -> Result<(Place, Below), Fail> {
        let at = self.inside(query, at)?;
        Ok((self.named(query).await?, at))
    }

    /// The volume that is named, or the host.
    async fn named(&self, query: &Query) -> Result<Place, Fail> {
        match &query.volume {
            Some(name) => place::of_volume(&self.engine, name, self.config.limits.plain_get).await,
            None => place::of_host(&self.config),
        }
    }

    /// The path below the root. Those of the host begin with the mount's name, as Portainer's pages write them.
    fn inside(&self, query: &Query, at: Below) -> Result<Below, Fail> {
        if query.volume.is_some() {
            return Ok(at);
        }
        place::of_host(&self.config)?;
        at.without("host").ok_or(Fail::NotOfHost)
    }

    /// Does blocking work on an open root.
    async fn within<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&Root) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, Fail> {
        let ground = Arc::clone(&self.ground);
        self.jobs.run(move || work(&place.open(&ground)?)).await?
    }
}

/// The two paths of a renaming. Keys are matched without case, as Go does.
async fn renamed(asked: &mut Asked) -> Result<(Below, Below), Fail> {
    let body = asked.buffer(RENAME_BYTES).await.map_err(|fail| match fail {
        execute::Fail::TooLarge { limit } => Fail::LargeJson { limit },
        _ => Fail::Broken,
    })?;
    let document: Map<String, Value> = serde_json::from_slice(&body).map_err(|_| Fail::Json)?;
    let path = |key: &'static str| {
        let mut found = document.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
        match (found.next(), found.next()) {
            (Some((_, Value::String(path))), None) if !path.is_empty() => Below::parse(path.as_bytes()),
            _ => Err(Fail::Key(key)),
        }
    };
    Ok((path("CurrentFilePath")?, path("NewFilePath")?))
}
