//! The rules of the budget in random orders: the cap holds at every step, and once users let go, everything drains.

use proptest::prelude::*;

use super::*;

const SHARE: usize = 1 << 20;
const DECODE_RESERVE: usize = 256 << 10;
const RESPONSE_MAX: usize = 4 << 20;
/// Brokers that fetch at once.
const FETCHES: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Send the fetch of this broker, asking for so much at most.
    Send { fetch: usize, ask: usize },
    /// The size of its response becomes known (the broker may exceed what was asked).
    Arrive { fetch: usize, len: usize },
    /// Its connection breaks.
    Break { fetch: usize },
    /// All that wait ask again.
    Retry,
    /// A batch of this length is decompressed and kept.
    Decode { len: usize },
    /// A user retains a slice of one of the held frames, and the handler is done with it.
    Retain { held: usize },
    /// One of the held frames is let go.
    Finish { held: usize },
    /// One of the retained slices is dropped.
    Forget { slice: usize },
    /// A connection opens.
    Connect,
}

#[derive(Debug, Default)]
enum Fetch {
    #[default]
    Idle,
    Sent(Reservation),
    Waiting(Option<Reservation>, usize),
}

struct Model {
    pool: FramePool,
    fetches: [Fetch; FETCHES],
    held: Vec<Frame>,
    slices: Vec<SharedSlice>,
    landing: Vec<Frame>,
    /// Bytes of the frame that was admitted alone and is not released.
    alone: Option<usize>,
}

impl Model {
    fn new() -> Self {
        let limits = MemoryLimits {
            share_bytes: SHARE,
            decode_reserve_bytes: DECODE_RESERVE,
            response_max_bytes: RESPONSE_MAX,
            huge_pages: false,
        };
        Self {
            pool: FramePool::new(limits, Box::new(|| {})),
            fetches: Default::default(),
            held: Vec::new(),
            slices: Vec::new(),
            landing: Vec::new(),
            alone: None,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Send { fetch, ask } => {
                if let Fetch::Idle = self.fetches[fetch] {
                    let ask = ask.min(self.pool.free_bytes());
                    if ask > 0 {
                        self.fetches[fetch] =
                            Fetch::Sent(self.pool.reserve(ask).expect("what is free can be reserved"));
                    }
                }
            }
            Step::Arrive { fetch, len } => {
                if let Fetch::Sent(reservation) = std::mem::take(&mut self.fetches[fetch]) {
                    let promised = len <= reservation.held;
                    self.admit(fetch, Some(reservation), len);
                    assert!(!promised || matches!(self.fetches[fetch], Fetch::Idle), "a promise is kept");
                }
            }
            Step::Break { fetch } => self.fetches[fetch] = Fetch::Idle,
            Step::Retry => self.retry(),
            Step::Decode { len } => {
                let is_first = self.pool.stats().scratch == 0;
                let frame = self.pool.scratch(len);
                assert!(frame.is_some() || !is_first, "one decompression always has room");
                self.held.extend(frame);
            }
            Step::Retain { held } => {
                if let Some(frame) = take(&mut self.held, held) {
                    self.slices.push(frame.retain(0..frame.len()));
                }
            }
            Step::Finish { held } => drop(take(&mut self.held, held)),
            Step::Forget { slice } => {
                drop(take(&mut self.slices, slice));
                self.pool.bring_home();
            }
            Step::Connect => {
                if self.landing.len() < 2 * FETCHES {
                    self.landing.push(self.pool.landing());
                }
            }
        }
    }

    fn admit(&mut self, fetch: usize, mut reservation: Option<Reservation>, len: usize) {
        self.notice_release();
        self.fetches[fetch] = match self.pool.admit(&mut reservation, len) {
            Admission::Frame(frame) => {
                self.held.push(frame);
                Fetch::Idle
            }
            Admission::Alone(frame) => {
                let share = SHARE - DECODE_RESERVE - self.pool.stats().landing;
                assert!(frame.capacity() > share && frame.capacity() - len < 4096, "{len} fits the share");
                assert_eq!(self.alone, None, "one at a time");
                self.alone = Some(frame.capacity());
                self.held.push(frame);
                Fetch::Idle
            }
            Admission::Wait => Fetch::Waiting(reservation, len),
            Admission::TooLarge => panic!("{len} is within the maximum"),
        };
    }

    fn retry(&mut self) {
        for fetch in 0..FETCHES {
            match std::mem::take(&mut self.fetches[fetch]) {
                Fetch::Waiting(reservation, len) => self.admit(fetch, reservation, len),
                other => self.fetches[fetch] = other,
            }
        }
    }

    fn notice_release(&mut self) {
        let stats = self.pool.stats();
        let responses = stats.in_use - stats.scratch - stats.landing;
        self.alone = self.alone.filter(|&bytes| responses >= bytes);
    }

    fn check_cap(&mut self) {
        self.notice_release();
        let stats = self.pool.stats();
        let responses = stats.in_use - stats.scratch - stats.landing;
        if let Some(bytes) = self.alone {
            assert_eq!((responses, stats.reserved), (bytes, 0), "nothing beside it: {stats:?}");
            assert!(stats.scratch <= DECODE_RESERVE, "{stats:?}");
        } else {
            assert!(stats.in_use + stats.reserved <= SHARE + stats.landing, "{stats:?}");
            assert!(stats.in_use + stats.cached <= SHARE + stats.landing, "{stats:?}");
        }
    }

    /// Users let go of what they hold, again and again; every response that was sent comes.
    fn drain(&mut self) {
        for fetch in 0..FETCHES {
            self.apply(Step::Arrive { fetch, len: RESPONSE_MAX });
        }
        for _ in 0..2 * FETCHES {
            self.held.clear();
            self.slices.clear();
            self.pool.bring_home();
            self.retry();
            self.check_cap();
        }
        self.held.clear();
        assert!(self.fetches.iter().all(|fetch| matches!(fetch, Fetch::Idle)), "{:?}", self.fetches);
        let stats = self.pool.stats();
        assert_eq!((stats.in_use, stats.reserved, stats.waiting), (stats.landing, 0, 0));
    }
}

fn take<T>(from: &mut Vec<T>, index: usize) -> Option<T> {
    let index = index.checked_rem(from.len())?;
    Some(from.swap_remove(index))
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![1..8192_usize, 1..300_000_usize, 1..SHARE];
    prop_oneof![
        4 => (0..FETCHES, length.clone()).prop_map(|(fetch, ask)| Step::Send { fetch, ask }),
        4 => (0..FETCHES, prop_oneof![8 => length, 1 => 1..RESPONSE_MAX])
            .prop_map(|(fetch, len)| Step::Arrive { fetch, len }),
        1 => (0..FETCHES).prop_map(|fetch| Step::Break { fetch }),
        2 => Just(Step::Retry),
        2 => (1..=DECODE_RESERVE).prop_map(|len| Step::Decode { len }),
        1 => any::<usize>().prop_map(|held| Step::Retain { held }),
        4 => any::<usize>().prop_map(|held| Step::Finish { held }),
        1 => any::<usize>().prop_map(|slice| Step::Forget { slice }),
        1 => Just(Step::Connect),
    ]
}

proptest! {
    #[test]
    fn in_every_order_the_cap_holds_and_everything_drains_when_users_let_go(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut model = Model::new();
        for step in steps {
            model.apply(step);
            model.check_cap();
        }
        model.drain();
    }
}
