//! The least that any set of new nodes could cost for a demand, and what one unit of each resource is worth at that
//! price.
//!
//! This is the linear relaxation of the purchase: nodes may be bought in fractions and pods split. Its dual is solved,
//! max Σ demand × worth subject to Σ room × worth <= price for every offer, by the simplex method: the start, every worth
//! at zero, is feasible because no price is below zero, and so is every step, so that each of them is a bound already.

/// What new nodes can be bought, as rows of numbers.
#[derive(Clone, Debug)]
pub(super) struct Market<'a> {
    /// Price of each offer.
    pub(super) prices: &'a [f64],
    /// What each offer has of every resource, offer by offer.
    pub(super) room: &'a [f64],
    /// What is asked for of every resource.
    pub(super) demand: &'a [f64],
}

/// The solution.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    /// No set of nodes that covers the demand costs less.
    pub(super) price: f64,
    /// What one unit of each resource is worth.
    pub(super) worth: Vec<f64>,
}

/// More steps than the handful of resources ever needs; a bound that stops here is valid, only lower.
const STEPS: usize = 200;

/// Below this a number counts as zero: all of them are scaled to about one.
const ZERO: f64 = 1e-12;

/// Solves the dual. A resource that no offer has is left out, as is one that nobody asks for.
#[expect(
    clippy::indexing_slicing,
    reason = "rows and columns are counted from the lengths of the lists"
)]
pub(super) fn bound(market: &Market<'_>) -> Bound {
    let (width, height) = (market.demand.len(), market.prices.len());
    let dearest = market.prices.iter().copied().fold(0.0, f64::max);
    let mut worth = vec![0.0; width];
    let room = |row: usize, column: usize| market.room[row * width + column];
    let columns: Vec<usize> = (0..width)
        .filter(|column| 0.0 < market.demand[*column] && (0..height).any(|row| 0.0 < room(row, *column)))
        .collect();
    if dearest <= 0.0 || columns.is_empty() {
        return Bound { price: 0.0, worth };
    }
    // Every demand is one and the dearest offer costs one.
    let stride = columns.len() + 1;
    let mut table = Vec::with_capacity(height * stride);
    for row in 0..height {
        table.extend(columns.iter().map(|column| room(row, *column) / market.demand[*column]));
        table.push(market.prices[row] / dearest);
    }
    let mut gains = vec![1.0; columns.len()];
    // What each column and row of the table stands for: a worth below `width`, else the slack of an offer.
    let mut of_column: Vec<usize> = columns.clone();
    let mut of_row: Vec<usize> = (width..width + height).collect();
    let mut value = 0.0;
    for _ in 0..STEPS {
        let enters = (0..gains.len())
            .filter(|column| ZERO < gains[*column])
            .min_by(|a, b| gains[*b].total_cmp(&gains[*a]).then(a.cmp(b)));
        let Some(enters) = enters else { break };
        let leaves = (0..height)
            .filter(|row| ZERO < table[row * stride + enters])
            .min_by(|a, b| {
                let ratio = |row: usize| table[row * stride + stride - 1] / table[row * stride + enters];
                ratio(*a).total_cmp(&ratio(*b)).then(a.cmp(b))
            });
        let Some(leaves) = leaves else { break };
        let pivot = table[leaves * stride + enters];
        let pivot_row: Vec<f64> = (0..stride)
            .map(|column| table[leaves * stride + column] / pivot)
            .collect();
        for row in (0..height).filter(|row| *row != leaves) {
            let factor = table[row * stride + enters];
            if factor.abs() <= ZERO {
                table[row * stride + enters] = 0.0;
                continue;
            }
            for column in 0..stride {
                table[row * stride + column] -= factor * pivot_row[column];
            }
            table[row * stride + enters] = -factor / pivot;
            let limit = &mut table[row * stride + stride - 1];
            *limit = limit.max(0.0);
        }
        let gain = gains[enters];
        for column in 0..gains.len() {
            gains[column] -= gain * pivot_row[column];
        }
        gains[enters] = -gain / pivot;
        value += gain * pivot_row[stride - 1];
        table[leaves * stride..(leaves + 1) * stride].copy_from_slice(&pivot_row);
        table[leaves * stride + enters] = 1.0 / pivot;
        std::mem::swap(&mut of_column[enters], &mut of_row[leaves]);
    }
    for (row, stands_for) in of_row.iter().enumerate() {
        if let Some(worth) = worth.get_mut(*stands_for) {
            *worth = table[row * stride + stride - 1] * dearest / market.demand[*stands_for];
        }
    }
    Bound {
        price: value * dearest,
        worth,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop, proptest};

    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-6 * (1.0 + one.abs())
    }

    #[test]
    fn the_cheapest_mix_of_two_offers_is_the_bound() {
        // One has 4 of the first and 1 of the second, the other 1 and 4; both cost 5, so one unit is worth 1.
        let market = Market {
            prices: &[5.0, 5.0],
            room: &[4.0, 1.0, 1.0, 4.0],
            demand: &[10.0, 10.0],
        };
        let solved = bound(&market);
        assert!(close(solved.price, 20.0), "{solved:?}");
        assert!(close(solved.worth[0], 1.0) && close(solved.worth[1], 1.0), "{solved:?}");
    }

    #[test]
    fn what_nobody_asks_for_or_sells_is_worth_nothing() {
        let solved = bound(&Market {
            prices: &[2.0],
            room: &[4.0, 0.0, 7.0],
            demand: &[8.0, 3.0, 0.0],
        });
        assert!(close(solved.price, 4.0));
        assert!(solved.worth[1].abs() + solved.worth[2].abs() < 1e-9);
        let free = bound(&Market {
            prices: &[0.0],
            room: &[1.0],
            demand: &[8.0],
        });
        assert!(free.price.abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// The price equals the demand at its worth, no offer is worth more than it costs, and buying one offer alone
        /// never costs less.
        #[test]
        fn the_bound_is_feasible_and_below_every_simple_purchase(
            offers in prop::collection::vec((1u32..1000, 1u32..100, 1u32..100, 1u32..100), 1..12),
            demand in (1u32..10_000, 1u32..10_000, 1u32..10_000),
        ) {
            let prices: Vec<f64> = offers.iter().map(|offer| f64::from(offer.0)).collect();
            let room: Vec<f64> = offers
                .iter()
                .flat_map(|offer| [offer.1, offer.2, offer.3].map(f64::from))
                .collect();
            let demand = [demand.0, demand.1, demand.2].map(f64::from);
            let solved = bound(&Market { prices: &prices, room: &room, demand: &demand });
            let at_worth: f64 = demand.iter().zip(&solved.worth).map(|(amount, worth)| amount * worth).sum();
            assert!(close(at_worth, solved.price), "{at_worth} {solved:?}");
            for (price, room) in prices.iter().zip(room.chunks(3)) {
                let worth: f64 = room.iter().zip(&solved.worth).map(|(room, worth)| room * worth).sum();
                assert!(worth <= price * (1.0 + 1e-6), "{worth} {price}");
                let alone = demand.iter().zip(room).map(|(amount, room)| amount / room).fold(0.0, f64::max) * price;
                assert!(solved.price <= alone * (1.0 + 1e-6), "{} {alone}", solved.price);
            }
        }
    }
}
