//! The certificate of the public listener: the operator's own, or one that we make, keep and rotate.
//!
//! In go files; out comes a watched rustls configuration. Once there is one, no file and no clock takes it away: a
//! bad file keeps the old certificate and is logged once for each change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use time::OffsetDateTime;
use tokio::sync::watch;
use tracing::{info, warn};

use super::TrustError;
use super::issue::{self, Names, Pem};
use super::kept::{Pair, Paths, Texts};
use crate::config;
use crate::model::chain;
use crate::shutdown::Shutdown;

/// What the public listener shows. [`PublicIdentity::keep`] lets it live.
pub struct PublicIdentity {
    leaf: Paths,
    making: Making,
    shown: watch::Sender<Arc<ServerConfig>>,
    until: watch::Sender<OffsetDateTime>,
    current: Current,
    seen: Texts,
}

/// Who makes the certificate.
enum Making {
    Operator,
    /// We, under an authority that lies beside it, for these names.
    Ours {
        authority: Paths,
        names: Names,
    },
}

/// What is shown now, as far as rotation cares.
struct Current {
    said: issue::Said,
    /// Issued by our own authority. A pair that somebody put in our folder is not ours to replace.
    ours: bool,
    /// Whether it could be stored.
    stored: bool,
}

impl PublicIdentity {
    /// Loads the operator's pair, or the one in `<data>/tls`; makes one where there is none, or where ours is old or
    /// lacks a name. `names` are host name and addresses of this machine; loopback and AGENT_TLS_SANS are added.
    ///
    /// Errors concern the operator's own pair only: whatever else fails, a certificate in memory is made instead.
    pub fn load_or_make(data: &Path, tls: &config::Tls, names: &[String]) -> Result<Self, TrustError> {
        let now = OffsetDateTime::now_utc();
        match &tls.own {
            Some((certificate, key)) => {
                let leaf = Paths { certificate: certificate.clone(), key: key.clone() };
                let seen = leaf.read();
                let pair = leaf.pair(&seen, now)?;
                Ok(Self::showing(leaf, Making::Operator, pair, seen, true))
            }
            None => Self::ours(&data.join("tls"), &wanted(tls, names), now),
        }
    }

    /// What is wrong with the operator's own pair, if there is one.
    pub fn problem(tls: &config::Tls) -> Option<TrustError> {
        let (certificate, key) = tls.own.as_ref()?;
        let leaf = Paths { certificate: certificate.clone(), key: key.clone() };
        leaf.pair(&leaf.read(), OffsetDateTime::now_utc()).err()
    }

    /// The configuration to show, now and after each change.
    pub fn watch(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.shown.subscribe()
    }

    /// When what is shown ends, now and after each change.
    pub fn until(&self) -> watch::Receiver<OffsetDateTime> {
        self.until.subscribe()
    }

    /// Rotates and reloads until draining starts, with a look at the files in each such period.
    pub async fn keep(mut self, every: Duration, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.draining() => return,
            }
            // A disk may hang; the requests that are served meanwhile must not.
            match tokio::task::spawn_blocking(move || self.looked()).await {
                Ok(looked) => self = looked,
                Err(_) => return,
            }
        }
    }

    fn looked(mut self) -> Self {
        self.look(OffsetDateTime::now_utc());
        self
    }

    /// One look at files and clock.
    fn look(&mut self, now: OffsetDateTime) {
        let texts = self.leaf.read();
        if texts != self.seen {
            self.seen = texts;
            self.reload(now);
        }
        if let Making::Ours { authority, names } = &self.making
            && self.current.ours
            && self.current.said.is_stale_at(now)
        {
            match make(&self.leaf, authority, names, now) {
                Ok((pair, stored)) => {
                    self.seen = self.leaf.read();
                    self.show(pair, true, stored);
                }
                Err(error) => warn!(error = %chain(&error), "the certificate could not be rotated"),
            }
        }
    }

    fn reload(&mut self, now: OffsetDateTime) {
        match self.leaf.pair(&self.seen, now) {
            Ok(pair) => {
                let ours = self.making.made(&pair.said);
                self.show(pair, ours, true);
            }
            // Nothing was there and nothing is: our certificate lives in memory.
            Err(_) if !self.current.stored => {}
            Err(error) => warn!(error = %chain(&error), "the changed certificate is not used"),
        }
    }

    fn show(&mut self, pair: Pair, ours: bool, stored: bool) {
        pair.announce();
        self.until.send_replace(pair.said.until);
        self.current = Current { said: pair.said, ours, stored };
        self.shown.send_replace(Arc::new(pair.config));
    }

    fn ours(folder: &Path, names: &Names, now: OffsetDateTime) -> Result<Self, TrustError> {
        let at = |certificate, key| Paths { certificate: folder.join(certificate), key: folder.join(key) };
        let (leaf, authority) = (at("cert.pem", "key.pem"), at("ca.pem", "ca.key"));
        let making = Making::Ours { authority: authority.clone(), names: names.clone() };
        let seen = leaf.read();
        match leaf.pair(&seen, now) {
            Ok(pair) if !making.made(&pair.said) => {
                return Ok(Self::showing(leaf, making, pair, seen, true));
            }
            Ok(pair) if !pair.said.is_stale_at(now) && pair.said.names == *names => {
                return Ok(Self::showing(leaf, making, pair, seen, true));
            }
            Ok(_) | Err(TrustError::NotNow { .. }) => {}
            Err(TrustError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                warn!(error = %chain(&error), "the stored certificate is set aside");
                leaf.set_aside();
            }
        }
        let (pair, stored) = make(&leaf, &authority, names, now)?;
        let seen = leaf.read();
        Ok(Self::showing(leaf, making, pair, seen, stored))
    }

    fn showing(leaf: Paths, making: Making, pair: Pair, seen: Texts, stored: bool) -> Self {
        pair.announce();
        let current = Current { ours: making.made(&pair.said), said: pair.said, stored };
        let (shown, until) =
            (watch::Sender::new(Arc::new(pair.config)), watch::Sender::new(current.said.until));
        Self { leaf, making, shown, until, current, seen }
    }
}

impl Making {
    /// Whether this certificate was issued by our own authority.
    fn made(&self, said: &issue::Said) -> bool {
        match self {
            Self::Operator => false,
            Self::Ours { .. } => said.issuer.starts_with(issue::AUTHORITY) && said.subject == issue::LEAF,
        }
    }
}

impl Pair {
    fn announce(&self) {
        info!(fingerprint = %self.fingerprint, until = %self.said.until, "public certificate");
    }
}

/// Makes a leaf, under the authority that is stored or a new one, and stores what it can. Tells whether it could.
fn make(
    leaf: &Paths,
    authority: &Paths,
    names: &Names,
    now: OffsetDateTime,
) -> Result<(Pair, bool), TrustError> {
    if let Some(folder) = leaf.certificate.parent() {
        // What fails here fails again at the first write, and is told there.
        fs::create_dir_all(folder).ok();
    }
    let (signer, authority_stored) = match stored_authority(authority, now) {
        Some(stored) => (stored, Ok(())),
        None => {
            let fresh = issue::authority(now)?;
            let stored = authority.write(&fresh);
            (fresh, stored)
        }
    };
    let pem = issue::leaf(&signer, names, now)?;
    let stored = authority_stored.and_then(|()| leaf.write(&pem));
    if let Err(error) = &stored {
        warn!(
            %error,
            folder = %leaf.certificate.parent().unwrap_or(Path::new("")).display(),
            "the certificate cannot be stored: it lives in memory, and a restart shows another"
        );
    }
    Ok((leaf.parse(pem.certificate.as_bytes(), pem.key.as_bytes())?, stored.is_ok()))
}

/// The stored authority, if it is ours, whole, and outlives the leaf that it would sign.
fn stored_authority(authority: &Paths, now: OffsetDateTime) -> Option<Pem> {
    let certificate = fs::read_to_string(&authority.certificate).ok()?;
    let key = fs::read_to_string(&authority.key).ok()?;
    let said = authority.parse(certificate.as_bytes(), key.as_bytes()).ok()?.said;
    let ours = issue::authority_name(&key)? == said.subject;
    let lasting = said.from <= now && said.until > now + issue::LEAF_LIFE;
    (ours && lasting).then_some(Pem { certificate, key })
}

fn wanted(tls: &config::Tls, names: &[String]) -> Names {
    let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let all = loopback.iter().chain(names).chain(&tls.sans);
    let usable = issue::usable(all.clone().cloned());
    let (asked, usable_asked) = (tls.sans.len(), issue::usable(tls.sans.iter().cloned()).len());
    if usable_asked < asked {
        warn!(sans = ?tls.sans, "some of AGENT_TLS_SANS are neither names nor addresses, or repeat");
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use time::Duration;

    fn no_tls() -> config::Tls {
        config::Tls { own: None, sans: Vec::new() }
    }

    fn own(folder: &Path) -> config::Tls {
        config::Tls { own: Some((folder.join("own.pem"), folder.join("own.key"))), sans: Vec::new() }
    }

    fn write_own(folder: &Path, pem: &Pem) {
        fs::write(folder.join("own.pem"), &pem.certificate).unwrap();
        fs::write(folder.join("own.key"), &pem.key).unwrap();
    }

    fn some_pair(name: &str) -> Pem {
        let now = OffsetDateTime::now_utc();
        let authority = issue::authority(now).unwrap();
        issue::leaf(&authority, &Names::from([name.to_owned()]), now).unwrap()
    }

    fn stored(data: &Path, file: &str) -> Vec<u8> {
        fs::read(data.join("tls").join(file)).unwrap()
    }

    fn said(pem: &[u8]) -> issue::Said {
        issue::Said::parse(&CertificateDer::from_pem_slice(pem).unwrap()).unwrap()
    }

    #[test]
    fn the_first_start_makes_what_later_starts_show() {
        let data = tempfile::tempdir().unwrap();
        let names = ["node1".to_owned(), "192.0.2.7".to_owned(), "not a name".to_owned()];
        let tls = config::Tls { own: None, sans: vec!["docker.example.org".into(), "2001:DB8::1".into()] };
        let first = PublicIdentity::load_or_make(data.path(), &tls, &names).unwrap();
        let leaf = stored(data.path(), "cert.pem");
        let wanted =
            ["127.0.0.1", "192.0.2.7", "2001:db8::1", "::1", "docker.example.org", "localhost", "node1"];
        assert_eq!(first.current.said.names, wanted.map(str::to_owned).into());
        assert!(first.current.said.from <= OffsetDateTime::now_utc() - Duration::hours(23));
        let again = PublicIdentity::load_or_make(data.path(), &tls, &names).unwrap();
        assert_eq!(stored(data.path(), "cert.pem"), leaf);
        assert_eq!(again.current.said, first.current.said);
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_the_owner_only_and_nothing_is_left_over() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        PublicIdentity::load_or_make(data.path(), &no_tls(), &[]).unwrap();
        let mode =
            |file| fs::metadata(data.path().join("tls").join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("ca.key"), mode("key.pem")), (0o600, 0o600));
        let mut files: Vec<_> =
            fs::read_dir(data.path().join("tls")).unwrap().map(|f| f.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["ca.key", "ca.pem", "cert.pem", "key.pem"]);
    }

    #[test]
    fn what_is_wrong_with_the_operators_pair_is_told_without_showing_it() {
        let data = tempfile::tempdir().unwrap();
        assert!(PublicIdentity::problem(&no_tls()).is_none());
        let missing = PublicIdentity::problem(&own(data.path()));
        assert!(matches!(missing, Some(TrustError::Read { .. })), "{missing:?}");
        write_own(data.path(), &some_pair("node1"));
        assert!(PublicIdentity::problem(&own(data.path())).is_none());
        write_own(data.path(), &Pem { key: some_pair("node1").key, ..some_pair("node1") });
        let other = PublicIdentity::problem(&own(data.path()));
        assert!(matches!(other, Some(TrustError::Pair { .. })), "{other:?}");
    }

    #[test]
    fn a_new_name_makes_a_new_leaf_under_the_same_authority() {
        let data = tempfile::tempdir().unwrap();
        PublicIdentity::load_or_make(data.path(), &no_tls(), &[]).unwrap();
        let (authority, leaf) = (stored(data.path(), "ca.pem"), stored(data.path(), "cert.pem"));
        PublicIdentity::load_or_make(data.path(), &no_tls(), &["10.0.1.4".into()]).unwrap();
        assert_eq!(stored(data.path(), "ca.pem"), authority);
        assert_ne!(stored(data.path(), "cert.pem"), leaf);
        assert_eq!(said(&stored(data.path(), "cert.pem")).issuer, said(&authority).subject);
    }

    #[test]
    fn two_thirds_of_its_life_later_it_is_rotated_without_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let mut identity = PublicIdentity::load_or_make(data.path(), &no_tls(), &[]).unwrap();
        let mut shown = identity.watch();
        let leaf = stored(data.path(), "cert.pem");
        let now = OffsetDateTime::now_utc();
        identity.look(now + Duration::days(58));
        assert!(!shown.has_changed().unwrap());
        identity.look(now + Duration::days(62));
        assert!(shown.has_changed().unwrap());
        shown.mark_unchanged();
        assert_ne!(stored(data.path(), "cert.pem"), leaf);
        identity.look(now + Duration::days(62));
        assert!(!shown.has_changed().unwrap());
    }

    #[test]
    fn a_pair_put_into_the_folder_is_shown_and_never_rotated_by_us() {
        let data = tempfile::tempdir().unwrap();
        let mut identity = PublicIdentity::load_or_make(data.path(), &no_tls(), &[]).unwrap();
        let mut shown = identity.watch();
        let key = rcgen::KeyPair::generate().unwrap();
        let theirs = rcgen::CertificateParams::new(vec!["swarm.example.org".into()]).unwrap();
        let theirs = theirs.self_signed(&key).unwrap().pem();
        fs::write(data.path().join("tls/cert.pem"), &theirs).unwrap();
        identity.look(OffsetDateTime::now_utc());
        assert!(!shown.has_changed().unwrap(), "the key does not fit yet");
        fs::write(data.path().join("tls/key.pem"), key.serialize_pem()).unwrap();
        identity.look(OffsetDateTime::now_utc());
        assert!(shown.has_changed().unwrap());
        shown.mark_unchanged();
        identity.look(OffsetDateTime::now_utc() + Duration::days(36500));
        assert!(!shown.has_changed().unwrap());
        PublicIdentity::load_or_make(data.path(), &no_tls(), &["new-name".into()]).unwrap();
        assert_eq!(stored(data.path(), "cert.pem"), theirs.as_bytes());
    }

    #[test]
    fn a_stored_pair_that_cannot_be_used_is_set_aside() {
        let data = tempfile::tempdir().unwrap();
        PublicIdentity::load_or_make(data.path(), &no_tls(), &[]).unwrap();
        fs::write(data.path().join("tls/key.pem"), "not a key").unwrap();
        PublicIdentity::load_or_make(data.path(), &no_tls(), &[]).unwrap();
        assert_eq!(stored(data.path(), "key.pem.unusable"), b"not a key");
        said(&stored(data.path(), "cert.pem"));
    }

    #[test]
    fn without_a_place_to_store_it_the_certificate_lives_in_memory() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("tls"), "a file where the folder should be").unwrap();
        let mut identity = PublicIdentity::load_or_make(data.path(), &no_tls(), &[]).unwrap();
        assert!(!identity.current.stored);
        let shown = identity.watch();
        identity.look(OffsetDateTime::now_utc());
        assert!(!shown.has_changed().unwrap());
        identity.look(OffsetDateTime::now_utc() + Duration::days(62));
        assert!(shown.has_changed().unwrap());
    }

    #[test]
    fn the_operators_pair_is_replaced_without_a_restart_and_a_bad_one_keeps_the_old() {
        let folder = tempfile::tempdir().unwrap();
        write_own(folder.path(), &some_pair("one.example.org"));
        let mut identity = PublicIdentity::load_or_make(folder.path(), &own(folder.path()), &[]).unwrap();
        let mut shown = identity.watch();
        assert_eq!(identity.current.said.names, Names::from(["one.example.org".to_owned()]));
        assert!(!folder.path().join("tls").exists());

        let two = some_pair("two.example.org");
        fs::write(folder.path().join("own.pem"), &two.certificate).unwrap();
        identity.look(OffsetDateTime::now_utc());
        fs::remove_file(folder.path().join("own.pem")).unwrap();
        identity.look(OffsetDateTime::now_utc());
        assert!(!shown.has_changed().unwrap());

        write_own(folder.path(), &two);
        identity.look(OffsetDateTime::now_utc());
        assert!(shown.has_changed().unwrap());
        shown.mark_unchanged();
        assert_eq!(identity.current.said.names, Names::from(["two.example.org".to_owned()]));
        identity.look(OffsetDateTime::now_utc() + Duration::days(62));
        assert!(!shown.has_changed().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn looks_go_on_after_a_bad_one_until_draining_starts() {
        const EVERY: std::time::Duration = std::time::Duration::from_secs(30);
        // The clock stands still while files are read, so that each period has its look.
        let pass = async || {
            tokio::time::timeout(EVERY * 3, std::future::pending::<()>()).await.expect_err("time passes");
        };
        let folder = tempfile::tempdir().unwrap();
        write_own(folder.path(), &some_pair("one.example.org"));
        let identity = PublicIdentity::load_or_make(folder.path(), &own(folder.path()), &[]).unwrap();
        let (mut shown, mut until) = (identity.watch(), identity.until());
        let shutdown = Shutdown::new();
        shutdown.spawn(identity.keep(EVERY, shutdown.clone()));
        for (pair, used) in [
            (Pem { key: "not a key".into(), ..some_pair("two.example.org") }, false),
            (some_pair("two.example.org"), true),
            (Pem { certificate: String::new(), ..some_pair("three.example.org") }, false),
            (some_pair("three.example.org"), true),
        ] {
            write_own(folder.path(), &pair);
            pass().await;
            assert_eq!((shown.has_changed().unwrap(), until.has_changed().unwrap()), (used, used));
            shown.mark_unchanged();
            until.mark_unchanged();
        }
        assert_eq!(shutdown.finish(EVERY).await, crate::shutdown::Ended::Clean);
    }

    #[test]
    fn an_operators_pair_that_cannot_be_used_is_an_error_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let load = || PublicIdentity::load_or_make(folder.path(), &own(folder.path()), &[]).err();
        assert!(matches!(load(), Some(TrustError::Read { .. })));
        let pair = some_pair("one.example.org");
        let other = some_pair("one.example.org");
        write_own(folder.path(), &Pem { key: other.key, ..pair.clone() });
        assert!(matches!(load(), Some(TrustError::Pair { .. })));
        write_own(folder.path(), &Pem { certificate: "nothing".into(), ..pair.clone() });
        assert!(matches!(load(), Some(TrustError::NoCertificate { .. })));
        write_own(folder.path(), &Pem { key: "nothing".into(), ..pair.clone() });
        assert!(matches!(load(), Some(TrustError::NoKey { .. })));
        let past = OffsetDateTime::now_utc() - Duration::days(200);
        let expired = issue::leaf(&issue::authority(past).unwrap(), &Names::new(), past).unwrap();
        write_own(folder.path(), &expired);
        assert!(matches!(load(), Some(TrustError::NotNow { .. })));
    }
}
