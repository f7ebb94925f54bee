//! What the text of a request says: which volume, which path. Nothing is opened here.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::Fail;

/// PATH_MAX, and NAME_MAX for a volume's name: nothing longer can be opened.
const PATH_BYTES: usize = 4096;
const NAME_BYTES: usize = 255;

/// Where the volume is in the path of the oldest form.
const OLDEST: &str = "/v1/browse/";

/// What a request names.
pub(super) struct Query {
    /// `None`: the host is meant.
    pub(super) volume: Option<String>,
    path: Option<OsString>,
    /// `Path`: the directory that an upload goes to.
    pub(super) destination: Option<OsString>,
}

impl Query {
    /// Reads the decoded path of the request and its query, which is that of a form.
    pub(super) fn parse(route: &str, query: &str) -> Result<Self, Fail> {
        let (mut volume, mut path, mut destination) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match decoded(name)?.as_slice() {
                b"volumeID" => &mut volume,
                b"path" => &mut path,
                b"Path" => &mut destination,
                _ => continue,
            };
            // Portainer's server judges by the first of two; nobody shall judge by one and act on the other.
            if slot.replace(OsString::from_vec(decoded(value)?)).is_some() {
                return Err(Fail::Query);
            }
        }
        if let Some((name, _)) = route.strip_prefix(OLDEST).and_then(|rest| rest.split_once('/')) {
            volume = Some(OsString::from(name));
        }
        let volume = volume.map(volume_name).transpose()?;
        let given = |path: &OsString| !path.is_empty();
        Ok(Self { volume, path: path.filter(given), destination: destination.filter(given) })
    }

    pub(super) fn path(&self) -> Result<Below, Fail> {
        self.path.as_ref().map_or(Err(Fail::NoPath), |path| Below::parse(path.as_bytes()))
    }
}

/// In a form's query a plus is a space.
fn decoded(text: &str) -> Result<Vec<u8>, Fail> {
    let whole = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
    });
    if !whole {
        return Err(Fail::Query);
    }
    Ok(percent_decode_str(&text.replace('+', " ")).collect())
}

/// One name, which goes into one segment of a path of the engine's.
fn volume_name(name: OsString) -> Result<String, Fail> {
    let name = name.into_string().map_err(|_| Fail::VolumeName)?;
    let plain = !name.contains(['/', '\\']) && !name.chars().any(char::is_control);
    if !plain || matches!(name.as_str(), "" | "." | "..") || name.len() > NAME_BYTES {
        return Err(Fail::VolumeName);
    }
    Ok(name)
}

/// A path below a root, as its elements: none of them `.`, `..` or empty, none with a slash or a NUL in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Below(Vec<OsString>);

impl Below {
    /// Reads a path with or without slashes around it. An element `..` is refused, between backslashes too.
    pub(super) fn parse(path: &[u8]) -> Result<Self, Fail> {
        if path.is_empty() {
            return Err(Fail::NoPath);
        }
        let climbs = path.split(|b| matches!(b, b'/' | b'\\')).any(|element| element == b"..");
        if climbs || path.contains(&0) || path.len() > PATH_BYTES {
            return Err(Fail::Path);
        }
        let elements = path.split(|b| *b == b'/').filter(|element| !matches!(*element, b"" | b"."));
        Ok(Self(elements.map(|element| OsStr::from_bytes(element).to_owned()).collect()))
    }

    /// The same behind its first element, which must be this one.
    pub(super) fn without(&self, first: &str) -> Option<Self> {
        let (found, rest) = self.0.split_first()?;
        (found == first).then(|| Self(rest.to_vec()))
    }

    /// For the kernel, relative to a root. The root itself is a dot.
    pub(super) fn to_path(&self) -> PathBuf {
        if self.0.is_empty() { PathBuf::from(".") } else { self.0.iter().collect() }
    }

    /// The directory and the name in it; the root has neither.
    pub(super) fn split(&self) -> Option<(Self, &OsStr)> {
        let (name, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), name))
    }

    /// Each directory on the way to this one, itself last.
    pub(super) fn steps(&self) -> impl Iterator<Item = Self> {
        (1..=self.0.len()).map(|count| Self(self.0.iter().take(count).cloned().collect()))
    }

    pub(super) fn extension(&self) -> Option<&str> {
        Path::new(self.0.last()?).extension()?.to_str()
    }

    /// The path of an entry, for a message.
    pub(super) fn entry(&self, name: &OsStr) -> String {
        let parent = self.to_string();
        format!("{}/{}", parent.trim_end_matches('/'), name.to_string_lossy())
    }
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|element| write!(f, "/{}", element.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_elements() {
        let rows: [(&[u8], &str); 12] = [
            (b"/", "/"),
            (b".", "/"),
            (b"//", "/"),
            (b"a.txt", "/a.txt"),
            (b"/sub/a.txt", "/sub/a.txt"),
            (b"/sub//./a/", "/sub/a"),
            (b"a..b", "/a..b"),
            (b"...", "/..."),
            (b"/..a/a..", "/..a/a.."),
            (b"a\\b", "/a\\b"),
            (b" ", "/ "),
            ("ü".as_bytes(), "/ü"),
        ];
        for (path, elements) in rows {
            let below = Below::parse(path).expect("a path");
            assert_eq!(below.to_string(), elements, "{path:?}");
            assert!(!below.to_path().is_absolute() && !below.to_path().as_os_str().is_empty(), "{path:?}");
        }
    }

    #[test]
    fn what_climbs_is_no_path() {
        let long = vec![b'a'; 4097];
        let rows: [&[u8]; 11] = [
            b"..",
            b"/..",
            b"../x",
            b"a/../b",
            b"a/..",
            b"a\\..\\b",
            b"..\\x",
            b"a/..\\b",
            b"a\0",
            b"\0",
            &long,
        ];
        for path in rows {
            assert!(matches!(Below::parse(path), Err(Fail::Path)), "{path:?}");
        }
        assert!(matches!(Below::parse(b""), Err(Fail::NoPath)));
    }

    #[test]
    fn a_query_is_read_as_a_form() {
        let read = |query: &str| {
            let query = Query::parse("/v2/browse/ls", query).expect(query);
            (query.volume.clone(), query.path().map(|path| path.to_string()).ok())
        };
        let some = |text: &str| Some(text.to_owned());
        let rows = [
            ("volumeID=v1&path=/", (some("v1"), some("/"))),
            ("path=%2Fa+b%2b&volumeID=v.1_%2D", (some("v.1_-"), some("/a b+"))),
            ("volume%49D=v1&x=%2e%2e&path=a", (some("v1"), some("/a"))),
            ("path=/host", (None, some("/host"))),
            ("volumeID=v1&path=", (some("v1"), None)),
            ("volumeID=v1&path=/%2e%2e", (some("v1"), None)),
            ("&&volumeID=v1", (some("v1"), None)),
            ("", (None, None)),
        ];
        for (query, expected) in rows {
            assert_eq!(read(query), expected, "{query}");
        }
    }

    #[test]
    fn a_volume_has_one_plain_name() {
        let long = format!("volumeID={}", "v".repeat(256));
        let rows = [
            "volumeID=",
            "volumeID",
            "volumeID=.",
            "volumeID=..",
            "volumeID=%2e%2e",
            "volumeID=../x",
            "volumeID=a/b",
            "volumeID=a%2Fb",
            "volumeID=a%5Cb",
            "volumeID=a%00",
            "volumeID=%ff",
            long.as_str(),
        ];
        for query in rows {
            assert!(matches!(Query::parse("/browse/ls", query), Err(Fail::VolumeName)), "{query}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for query in ["volumeID=a&volumeID=b", "path=a&path=a", "Path=a&Path=b", "path=%", "path=%2", "%zz=a"]
        {
            assert!(matches!(Query::parse("/browse/ls", query), Err(Fail::Query)), "{query}");
        }
    }

    #[test]
    fn in_the_oldest_form_the_path_names_the_volume() {
        let query = Query::parse("/v1/browse/v 1/ls", "path=a&volumeID=other").expect("a query");
        assert_eq!(query.volume.as_deref(), Some("v 1"));
    }
}
