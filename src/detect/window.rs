//! The last so many samples, with their mean and standard deviation.
//!
//! Integers, so that sums neither drift nor differ between machines when a sample leaves.

use std::collections::VecDeque;

/// A bounded window of signed nanoseconds.
#[derive(Clone, Debug)]
pub struct Window {
    samples: VecDeque<i64>,
    capacity: usize,
    sum: i128,
    squares: i128,
}

impl Window {
    /// An empty window of at least one sample.
    pub fn new(capacity: usize) -> Self {
        Self { samples: VecDeque::new(), capacity: capacity.max(1), sum: 0, squares: 0 }
    }

    /// Takes a sample; the oldest leaves a full window.
    pub fn push(&mut self, sample: i64) {
        if self.samples.len() == self.capacity
            && let Some(oldest) = self.samples.pop_front()
        {
            self.sum -= i128::from(oldest);
            self.squares -= i128::from(oldest) * i128::from(oldest);
        }
        self.samples.push_back(sample);
        self.sum += i128::from(sample);
        self.squares += i128::from(sample) * i128::from(sample);
    }

    /// Samples in it.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Their mean; `None` of none.
    pub fn mean(&self) -> Option<f64> {
        (!self.samples.is_empty()).then(|| self.sum as f64 / self.samples.len() as f64)
    }

    /// Their standard deviation (of the population, as Akka has it); `None` of none.
    pub fn deviation(&self) -> Option<f64> {
        let n = self.samples.len() as i128;
        // n * squares - sum^2 is exact, where the difference of two means would cancel.
        (n > 0).then(|| ((n * self.squares - self.sum * self.sum) as f64).max(0.0).sqrt() / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_samples_leave_without_a_trace() {
        let mut window = Window::new(4);
        assert_eq!((window.mean(), window.deviation()), (None, None));
        for sample in [1_000_000_000_000, -5, 2, 4, 4, 6] {
            window.push(sample);
        }
        assert_eq!((window.len(), window.mean(), window.deviation()), (4, Some(4.0), Some(2.0_f64.sqrt())));
    }
}
