//! Nothing leads out, whatever is below a root, and whatever is done to it meanwhile.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, mkfifoat, renameat_with};
use tempfile::TempDir;

use super::*;
use crate::agent_api::browse::{change, list, upload};
use crate::config::Limits;

/// `inside` is a root, `outside` holds a secret, `data` is the agent's own.
struct Ground {
    folder: TempDir,
    guard: Guard,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["inside/sub/deep", "outside", "data/uploads"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in ["inside/a.txt", "inside/sub/b.txt", "outside/secret", "data/key"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let guard = Guard::new(&folder.path().join("data"));
        Self { folder, guard }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn root(&self, name: &str, links: Links) -> Result<Root, Fail> {
        Root::new(File::open(self.at(name)).unwrap(), links, &self.guard)
    }

    fn inside(&self, links: Links) -> Root {
        self.root("inside", links).unwrap()
    }
}

fn below(path: &str) -> Below {
    Below::parse(path.as_bytes()).unwrap()
}

fn contents(root: &Root, path: &str) -> Result<String, Fail> {
    let mut text = String::new();
    let found = root.find(&below(path), "read")?;
    found.read().unwrap().read_to_string(&mut text).unwrap();
    Ok(text)
}

/// The error in a few words.
fn told<T>(outcome: Result<T, Fail>) -> String {
    let Err(fail) = outcome else { return "found".into() };
    match fail {
        Fail::Io { source, .. } => format!("{:?}", source.kind()),
        fail => format!("{fail:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn links_lead_no_further_than_the_root() {
    let ground = Ground::new();
    let link = |to: &str, name: &str| symlink(to, ground.at("inside").join(name)).unwrap();
    link("a.txt", "near");
    link("sub/../a.txt", "winding");
    link("sub", "folder");
    link("../outside/secret", "out");
    link("../outside", "out-folder");
    link("sub/../../outside/secret", "out-winding");
    link("near", "second");
    link("out", "out-second");
    link("/a.txt", "absolute");
    link(ground.at("outside/secret").to_str().unwrap(), "out-absolute");
    link("circle", "circle");
    link("gone", "dangling");
    link("/proc/self/root/etc/passwd", "magic");
    let rows = [
        // path, as a volume, as the host
        ("a.txt", "found", "found"),
        ("near", "found", "found"),
        ("second", "found", "found"),
        ("winding", "found", "found"),
        ("folder/b.txt", "found", "found"),
        ("out", "Outside", "NotFound"),
        ("out-folder/secret", "Outside", "NotFound"),
        ("out-winding", "Outside", "NotFound"),
        ("out-second", "Outside", "NotFound"),
        ("absolute", "Outside", "found"),
        ("out-absolute", "Outside", "NotFound"),
        ("circle", "FilesystemLoop", "FilesystemLoop"),
        ("dangling", "NotFound", "NotFound"),
        ("magic", "Outside", "NotFound"),
        ("a.txt/x", "NotADirectory", "NotADirectory"),
        ("none", "NotFound", "NotFound"),
    ];
    for (path, volume, host) in rows {
        assert_eq!(told(contents(&ground.inside(Links::Beneath), path)), volume, "{path}");
        let as_host = told(contents(&ground.inside(Links::InRoot), path));
        assert_eq!(as_host, host, "{path} of the host");
    }
}

#[test]
fn what_is_no_file_and_no_directory_is_not_even_opened() {
    let ground = Ground::new();
    mkfifoat(CWD, ground.at("inside/fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    let _socket = UnixListener::bind(ground.at("inside/socket")).unwrap();
    for links in [Links::Beneath, Links::InRoot] {
        for name in ["fifo", "socket"] {
            assert_eq!(told(contents(&ground.inside(links), name)), "Special", "{name}");
        }
    }
    let system = Root::new(File::open("/").unwrap(), Links::InRoot, &ground.guard).unwrap();
    for path in ["/dev/null", "/proc/self/environ", "/proc/version", "/sys/kernel/notes"] {
        assert_eq!(told(contents(&system, path)), "Special", "{path}");
    }
    for path in ["/proc/self/root/etc/passwd", "/proc/self/cwd", "/proc/self/exe"] {
        assert_eq!(told(contents(&system, path)), "FilesystemLoop", "{path}");
    }
}

#[test]
fn the_agents_own_data_is_found_by_no_name() {
    let ground = Ground::new();
    symlink("../data/key", ground.at("inside/link")).unwrap();
    symlink("data", ground.at("link")).unwrap();
    fs::hard_link(ground.at("data/key"), ground.at("inside/hard")).unwrap();
    for name in ["data", "data/uploads", "link"] {
        assert_eq!(told(ground.root(name, Links::Beneath)), "OwnData", "{name}");
    }
    assert_eq!(told(contents(&ground.inside(Links::Beneath), "hard")), "OwnData");
    for links in [Links::Beneath, Links::InRoot] {
        let all = Root::new(File::open(ground.folder.path()).unwrap(), links, &ground.guard).unwrap();
        for path in ["data", "data/uploads", "data/key", "link", "link/key", "link/uploads"] {
            assert_eq!(told(all.find(&below(path), "read")), "OwnData", "{path}");
        }
        for path in ["data/key", "data", "data/uploads", "link/key"] {
            assert_eq!(told(change::delete(&all, &below(path))), "OwnData", "{path}");
            assert_eq!(told(change::rename(&all, &below(path), &below("x"))), "OwnData", "{path}");
            assert_eq!(
                told(change::rename(&all, &below("outside/secret"), &below(path))),
                "OwnData",
                "{path}"
            );
        }
        let file = || tempfile::tempfile().unwrap();
        for path in ["data", "link/uploads", "data/new"] {
            assert_eq!(told(upload::install(&all, &below(path), "x".as_ref(), file())), "OwnData", "{path}");
        }
        assert_eq!(told(all.find(&below("inside/a.txt"), "read")), "found");
    }
    assert_eq!(fs::read_dir(ground.at("data")).unwrap().count(), 2);
    // Nor is the directory moved away that has it.
    let above = ground.folder.path().parent().unwrap();
    let above = Root::new(File::open(above).unwrap(), Links::Beneath, &ground.guard).unwrap();
    let name = ground.folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(told(change::rename(&above, &below(name), &below("moved-away"))), "OwnData");
    assert!(ground.at("data").exists());
}

#[test]
fn what_changes_something_follows_no_link_at_the_end_of_its_path() {
    let ground = Ground::new();
    let root = ground.inside(Links::Beneath);
    symlink("../outside/secret", ground.at("inside/out")).unwrap();
    symlink("../outside", ground.at("inside/out-folder")).unwrap();
    for path in ["out-folder/secret", "out-folder/new"] {
        assert_eq!(told(change::delete(&root, &below(path))), "Outside", "{path}");
        assert_eq!(told(change::rename(&root, &below("a.txt"), &below(path))), "Outside", "{path}");
        assert_eq!(told(change::rename(&root, &below(path), &below("x"))), "Outside", "{path}");
    }
    let file = || tempfile::tempfile().unwrap();
    assert_eq!(told(upload::install(&root, &below("/"), "out".as_ref(), file())), "Link");
    assert_eq!(told(upload::install(&root, &below("out-folder"), "new".as_ref(), file())), "Outside");
    assert_eq!(told(upload::install(&root, &below("out-folder/a/b"), "new".as_ref(), file())), "Outside");
    // The link itself is in the volume.
    change::rename(&root, &below("out"), &below("renamed")).unwrap();
    change::delete(&root, &below("renamed")).unwrap();
    assert_eq!(fs::read_to_string(ground.at("outside/secret")).unwrap(), "outside/secret");
    assert_eq!(fs::read_dir(ground.at("outside")).unwrap().count(), 1);
}

#[test]
fn what_was_not_uploaded_leaves_nothing() {
    let ground = Ground::new();
    let root = ground.inside(Links::Beneath);
    let unreadable = || fs::OpenOptions::new().write(true).open(ground.at("outside/secret")).unwrap();
    for path in ["new/a/b", "sub/new", "sub"] {
        let failed = upload::install(&root, &below(path), "x".as_ref(), unreadable());
        assert!(matches!(failed, Err(Fail::Io { doing: "write", .. })), "{path}: {failed:?}");
    }
    assert!(!ground.at("inside/new").exists(), "the directories that were made for it are gone");
    let file = tempfile::tempfile().unwrap();
    assert_eq!(told(upload::install(&root, &below("/"), "sub".as_ref(), file)), "Directory");
    for path in ["/", "sub"] {
        let bounds = list::Bounds::new(&Limits::default());
        let listed = list::read(&root, &below(path), &bounds).unwrap();
        assert_eq!(listed.count(), 2, "what was there before: {path}");
    }
}

/// Somebody in a container swaps a directory for a link that leads out, as fast as it can.
#[test]
fn no_race_leads_out() {
    const ROUNDS: usize = 2000;
    let ground = Ground::new();
    symlink("../../outside", ground.at("inside/sub/link")).unwrap();
    fs::write(ground.at("inside/sub/deep/secret"), "inside").unwrap();
    let over = AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (deep, link) = (ground.at("inside/sub/deep"), ground.at("inside/sub/link"));
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, &deep, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for round in 0..ROUNDS {
            let links = if round % 2 == 0 { Links::Beneath } else { Links::InRoot };
            let root = ground.inside(links);
            match contents(&root, "sub/deep/secret") {
                Ok(text) => {
                    assert_eq!(text, "inside", "round {round}");
                    inside += 1;
                }
                Err(_) => refused += 1,
            }
            let file = tempfile::tempfile().unwrap();
            let _ = upload::install(&root, &below("sub/deep"), "put".as_ref(), file);
            let _ = change::delete(&root, &below("sub/deep/put"));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(inside + refused, ROUNDS);
    assert!(inside > 0 && refused > 0, "both were met: {inside} inside, {refused} refused");
    let outside: Vec<_> =
        fs::read_dir(ground.at("outside")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside, ["secret"]);
}
