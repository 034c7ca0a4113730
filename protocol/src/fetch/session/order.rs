//! The order in which a session's partitions are served: a list within an array, so that every move is
//! constant time and nothing is allocated.

const NONE: u32 = u32::MAX;

/// Slots in order; each at most once.
#[derive(Debug)]
pub(super) struct Order {
    links: Vec<Link>,
    front: u32,
    back: u32,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
    linked: bool,
}

impl Default for Order {
    fn default() -> Order {
        Order { links: Vec::new(), front: NONE, back: NONE, len: 0 }
    }
}

impl Order {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let some = |slot| (slot != NONE).then_some(slot);
        std::iter::successors(some(self.front), move |slot| some(self.links[*slot as usize].after))
    }

    pub(super) fn push_back(&mut self, slot: u32) {
        let at = slot as usize;
        if self.links.len() <= at {
            self.links.resize(at + 1, Link { before: NONE, after: NONE, linked: false });
        }
        if !self.links[at].linked {
            self.len += 1;
            self.link_back(slot);
        }
    }

    pub(super) fn move_to_back(&mut self, slot: u32) {
        if self.unlink(slot) {
            self.link_back(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.len -= usize::from(self.unlink(slot));
    }

    fn link_back(&mut self, slot: u32) {
        self.links[slot as usize] = Link { before: self.back, after: NONE, linked: true };
        match self.back {
            NONE => self.front = slot,
            back => self.links[back as usize].after = slot,
        }
        self.back = slot;
    }

    fn unlink(&mut self, slot: u32) -> bool {
        let Some(link) = self.links.get_mut(slot as usize).filter(|link| link.linked) else { return false };
        let Link { before, after, .. } =
            std::mem::replace(link, Link { before: NONE, after: NONE, linked: false });
        match before {
            NONE => self.front = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => self.back = before,
            after => self.links[after as usize].before = before,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list_whatever_is_done_to_it() {
        let mut order = Order::default();
        let mut model: Vec<u32> = Vec::new();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let slot = random.u32(0..9);
            match random.u8(0..3) {
                0 => {
                    order.push_back(slot);
                    if !model.contains(&slot) {
                        model.push(slot);
                    }
                }
                1 => {
                    order.remove(slot);
                    model.retain(|other| *other != slot);
                }
                _ => {
                    order.move_to_back(slot);
                    if model.contains(&slot) {
                        model.retain(|other| *other != slot);
                        model.push(slot);
                    }
                }
            }
            assert_eq!(order.iter().collect::<Vec<_>>(), model);
            assert_eq!(order.len(), model.len());
        }
    }
}
