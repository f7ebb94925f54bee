//! Names for people: the host name, or more where hosts share one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{Member, NodeId};

/// Gives each member its shown name: the host name, or `<host>.<first 6 of the id>` where another has the same.
pub(super) fn name_all(members: &mut BTreeMap<NodeId, Member>) {
    let mut holders: HashMap<Arc<str>, usize> = HashMap::new();
    for member in members.values() {
        *holders.entry(Arc::clone(&member.host)).or_default() += 1;
    }
    for member in members.values_mut() {
        let shared = holders.get(&member.host).is_some_and(|n| *n > 1);
        member.shown = if shared {
            let id = member.id.as_str();
            format!("{}.{}", member.host, id.get(..6).unwrap_or(id)).into()
        } else {
            Arc::clone(&member.host)
        };
    }
}
