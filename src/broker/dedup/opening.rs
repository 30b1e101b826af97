//! A turn that has noted keys and has not ended: what it took is not on its way to the store yet, so
//! that no repeat on another thread may be answered.

use std::sync::Arc;
use std::task::Waker;

use crate::broker::receipt::Receipt;
use crate::sync::{Mutex, whole};

/// Such a turn, for those that wait for its end.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<OpenState>);

#[derive(Debug, Default)]
struct OpenState {
    end: Option<TurnEnd>,
    wakers: Vec<Waker>,
}

/// How such a turn has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TurnEnd {
    /// The store has its batch.
    Submitted(Receipt),
    /// It has not, and never will.
    Torn,
}

/// The turn's own end of it.
#[derive(Debug)]
pub struct OpenTurn(Arc<UnderWay>);

impl UnderWay {
    /// How it has ended; if it has not, `waker` is woken when it has.
    pub fn state(&self, waker: &Waker) -> Option<TurnEnd> {
        let state = &mut *whole(self.0.lock());
        if state.end.is_none() && !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        state.end
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        whole(self.0.lock()).end.is_some()
    }

    fn settle(&self, end: TurnEnd) -> Vec<Waker> {
        let state = &mut *whole(self.0.lock());
        state.end.get_or_insert(end);
        std::mem::take(&mut state.wakers)
    }
}

impl OpenTurn {
    /// A turn begins to note keys.
    pub fn begin() -> OpenTurn {
        OpenTurn(Arc::default())
    }

    /// What others see of it.
    pub fn opening(&self) -> &Arc<UnderWay> {
        &self.0
    }

    /// The store has the batch of the turn: returns what waits for that.
    pub fn submitted(self, receipt: Receipt) -> Vec<Waker> {
        self.0.settle(TurnEnd::Submitted(receipt))
    }
}

impl Drop for OpenTurn {
    fn drop(&mut self) {
        self.0.settle(TurnEnd::Torn).into_iter().for_each(Waker::wake);
    }
}
