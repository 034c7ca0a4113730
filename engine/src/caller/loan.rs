//! Lending a borrowed handler to the lanes of a shard, which live longer, for the time of one call.

use std::cell::Cell;
use std::mem;
use std::ptr::NonNull;

use super::erased::ErasedShardHandler;

/// Where the lanes of one shard find the handler that the caller has lent, while he has.
#[derive(Debug, Default)]
pub(super) struct Loan {
    /// Empty while nothing is lent, and while somebody uses what is.
    lent: Cell<Option<NonNull<dyn ErasedShardHandler>>>,
}

/// Sets the place again when it is dropped, however that comes.
struct Restore<'a> {
    loan: &'a Loan,
    to: Option<NonNull<dyn ErasedShardHandler>>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.loan.lent.set(self.to);
    }
}

impl Loan {
    /// Lends the handler to whoever asks during `call`.
    pub(super) fn lend<R>(&self, handler: &mut dyn ErasedShardHandler, call: impl FnOnce() -> R) -> R {
        let lent: NonNull<dyn ErasedShardHandler + '_> = NonNull::from(handler);
        // SAFETY: only the lifetime changes. The pointer is gone from here before `handler`'s borrow ends: the guard
        // takes it back when `call` is over, returned or unwound, and `with` puts it nowhere else.
        let lent = unsafe {
            mem::transmute::<NonNull<dyn ErasedShardHandler + '_>, NonNull<dyn ErasedShardHandler>>(lent)
        };
        let _take_back = Restore { loan: self, to: self.lent.take() };
        self.lent.set(Some(lent));
        call()
    }

    /// Uses what is lent; `None` when nothing is, or somebody uses it already.
    pub(super) fn with<R>(&self, call: impl FnOnce(&mut dyn ErasedShardHandler) -> R) -> Option<R> {
        let mut lent = self.lent.take()?;
        let _put_back = Restore { loan: self, to: Some(lent) };
        // SAFETY: it comes from a `&mut` that `lend` holds until its call is over, which this runs within, on the same
        // thread (a `Loan` is not `Sync`). The place is empty meanwhile, so nobody else makes a reference of it.
        Some(call(unsafe { lent.as_mut() }))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::error::BoxError;
    use crate::handler::{Batch, Context, Lane, Outcome};
    use crate::link::Topic;

    struct Counter<'a>(&'a mut u32);

    impl ErasedShardHandler for Counter<'_> {
        fn on_batch(&mut self, _: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, BoxError> {
            Ok(Outcome::Done)
        }

        fn max_in_flight(&self) -> usize {
            0
        }

        fn on_assigned(&mut self, _: &Lane) -> Result<(), BoxError> {
            Ok(())
        }

        fn on_revoked(&mut self, _: &Lane, _: Instant) {
            *self.0 += 1;
        }

        fn on_lost(&mut self, _: &Lane) {}

        fn on_closed(&mut self, _: &Lane) {}
    }

    fn count(loan: &Loan) -> Option<()> {
        let lane = Lane::new(Arc::new(Topic { name: "t".into(), id: [0; 16] }), 0, 0, 0);
        loan.with(|handler| handler.on_revoked(&lane, Instant::now()))
    }

    #[test]
    fn a_handler_is_there_while_it_is_lent_and_not_before_or_after() {
        let (loan, mut calls) = (Loan::default(), 0);
        assert_eq!(count(&loan), None);
        loan.lend(&mut Counter(&mut calls), || {
            assert_eq!(count(&loan), Some(()));
            assert_eq!(count(&loan), Some(()), "it is put back");
        });
        assert_eq!(count(&loan), None);
        assert_eq!(calls, 2);
    }

    #[test]
    fn nobody_finds_it_while_it_is_used() {
        let (loan, mut calls) = (Loan::default(), 0);
        loan.lend(&mut Counter(&mut calls), || {
            loan.with(|_| assert_eq!(count(&loan), None));
            assert_eq!(count(&loan), Some(()));
        });
    }

    #[test]
    fn a_panic_gives_it_back_at_once_or_with_the_end_of_the_loan() {
        let (loan, mut calls) = (Loan::default(), 0);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            loan.lend(&mut Counter(&mut calls), || {
                let inner = catch_unwind(AssertUnwindSafe(|| loan.with(|_| panic!("a handler fails"))));
                assert!(inner.is_err());
                assert_eq!(count(&loan), Some(()), "it is put back");
                panic!("the shard fails");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(count(&loan), None);
        assert_eq!(calls, 1);
    }
}
