//! Who may stay when many come.

use std::collections::BTreeSet;

use crate::machine::ClientId;

/// Counts the connections. When there are as many as may be, the stranger (who has not finished the
/// handshake) that has been here longest makes room for the next; those who have shown a certificate
/// are not disturbed.
#[derive(Debug)]
pub struct Door {
    limit: usize,
    /// Invariant: at most `limit`, and at least as many as `strangers`.
    inside: usize,
    /// Oldest first: ids grow.
    strangers: BTreeSet<ClientId>,
}

/// What becomes of a client who wants to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Welcome,
    /// There is room once this client's connection is dropped. It was not counted any more.
    InPlaceOf(ClientId),
    /// All who are inside have shown a certificate: the next waits until one of them leaves.
    Full,
}

impl Door {
    /// A door for at most `limit` connections.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { limit, inside: 0, strangers: BTreeSet::new() }
    }

    /// Whether the next can be let in, perhaps in place of another.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inside < self.limit || !self.strangers.is_empty()
    }

    /// A client comes in, as a stranger. Ids grow.
    pub fn admit(&mut self, client: ClientId) -> Admission {
        if self.inside < self.limit {
            self.inside += 1;
            self.strangers.insert(client);
            return Admission::Welcome;
        }
        let Some(oldest) = self.strangers.pop_first() else { return Admission::Full };
        self.strangers.insert(client);
        Admission::InPlaceOf(oldest)
    }

    /// The client has shown its certificate.
    pub fn knows(&mut self, client: ClientId) {
        self.strangers.remove(&client);
    }

    /// The client has left. Not to be said of one that [`Admission::InPlaceOf`] named.
    pub fn leaves(&mut self, client: ClientId) {
        self.strangers.remove(&client);
        self.inside = self.inside.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_make_room_and_others_do_not() {
        let mut door = Door::new(3);
        for id in 0..3 {
            assert_eq!(door.admit(ClientId(id)), Admission::Welcome);
        }
        door.knows(ClientId(0));
        assert_eq!(door.admit(ClientId(3)), Admission::InPlaceOf(ClientId(1)));
        door.knows(ClientId(2));
        door.knows(ClientId(3));
        assert!(!door.has_room());
        assert_eq!(door.admit(ClientId(4)), Admission::Full);
        door.leaves(ClientId(0));
        assert!(door.has_room());
        assert_eq!(door.admit(ClientId(5)), Admission::Welcome);
        assert_eq!(door.admit(ClientId(6)), Admission::InPlaceOf(ClientId(5)));
    }
}
