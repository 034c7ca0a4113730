//! Operations in flight, with the memory that the kernel reads and writes for them.

use socket2::SockAddr;

use crate::net::{ConnId, ReceiveTarget};

/// An operation that the kernel may be working on. It owns its memory, none of it inline, so that it may move.
#[derive(Debug)]
pub(super) enum Operation {
    Connect {
        conn: ConnId,
        address: Box<SockAddr>,
    },
    Send {
        conn: ConnId,
        bytes: Vec<u8>,
        sent: usize,
    },
    Receive {
        conn: ConnId,
        target: ReceiveTarget,
        received: usize,
    },
    /// The cancellation of another operation.
    Cancel,
    /// The read of the bell that wakes this thread.
    Bell {
        count: Box<u64>,
    },
}

/// The operations in flight by key. A key names its entry and how often that was used, so that a late completion
/// cannot meet another operation.
#[derive(Debug, Default)]
pub(super) struct Slab {
    entries: Vec<Entry>,
    free: Vec<u32>,
    in_flight: usize,
}

#[derive(Debug)]
struct Entry {
    uses: u32,
    operation: Option<Operation>,
}

impl Slab {
    /// Keeps an operation until its key is removed.
    pub(super) fn insert(&mut self, operation: Operation) -> u64 {
        self.in_flight += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { uses: 0, operation: None });
            u32::try_from(self.entries.len() - 1).expect("a few operations per connection")
        });
        let entry = &mut self.entries[index as usize];
        entry.uses = entry.uses.wrapping_add(1);
        entry.operation = Some(operation);
        u64::from(entry.uses) << 32 | u64::from(index)
    }

    /// The operation of that key, if it is in flight.
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut Operation> {
        let (uses, index) = ((key >> 32) as u32, key as u32 as usize);
        let entry = self.entries.get_mut(index).filter(|entry| entry.uses == uses)?;
        entry.operation.as_mut()
    }

    /// Takes an operation that the kernel is done with.
    pub(super) fn remove(&mut self, key: u64) -> Option<Operation> {
        self.get_mut(key)?;
        let index = key as u32;
        self.in_flight -= 1;
        self.free.push(index);
        self.entries[index as usize].operation.take()
    }

    /// Operations in flight.
    pub(super) fn len(&self) -> usize {
        self.in_flight
    }

    /// Keys of all operations that can be cancelled.
    pub(super) fn keys(&self) -> Vec<u64> {
        let cancellable = |entry: &Entry| !matches!(entry.operation, None | Some(Operation::Cancel));
        let entries = self.entries.iter().zip(0_u64..).filter(|(entry, _)| cancellable(entry));
        entries.map(|(entry, index)| u64::from(entry.uses) << 32 | index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_an_operation_that_ended_meets_no_later_one() {
        let mut slab = Slab::default();
        let first = slab.insert(Operation::Cancel);
        assert!(matches!(slab.remove(first), Some(Operation::Cancel)));
        let second = slab.insert(Operation::Bell { count: Box::new(0) });
        assert_ne!(first, second);
        assert!(slab.get_mut(first).is_none());
        assert!(slab.remove(first).is_none());
        assert_eq!((slab.len(), slab.keys()), (1, vec![second]));
    }
}
