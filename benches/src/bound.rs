//! What a set of pods costs at least: a lower bound of the price of any packing, made without the packer.
//!
//! The bound is the linear program "buy parts of nodes, as cheaply as possible, so that there is enough of everything in
//! all":
//!
//! ```text
//! minimize    sum over sizes s of   price(s) n(s)
//! such that   sum over s of         capacity(s, r) n(s)  >=  demand(r)    for cpu, memory and pod slots
//!             sum over s of         n(s)                 >=  hosts        nodes that pods force by excluding each other
//!             n(s) >= 0
//! ```
//!
//! Whole nodes, pods that do not fit side by side, zones and spread only make a packing dearer. It is solved through its
//! dual, which gives a price to a core, a byte, a pod slot and a node such that no size is worth more than it costs;
//! whatever those four prices are, the demand times them is a lower bound, so that a rounding error cannot make the bound
//! too high.

/// What a node of one size offers to pods, and its price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// CPU in thousandths of a core.
    pub cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// Pod slots.
    pub pods: i64,
    /// Price per hour, in thousand-millionths.
    pub price: i64,
}

/// What pods request in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    /// CPU in thousandths of a core.
    pub cpu: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// How many pods there are.
    pub pods: i64,
    /// Fewest nodes that hold them: the size of the largest set of pods of which no two may share a node.
    pub hosts: i64,
}

const ROWS: usize = 4;

/// The least price per hour, in whole units of money.
///
/// # Panics
/// When there are no sizes, or the program has no solution, as when pods request something that no size has.
pub fn lower_bound(sizes: &[Size], needs: &Needs) -> f64 {
    let (weights, _) = solve(&columns(sizes), &demand(needs));
    let demand = demand(needs);
    weights.iter().zip(demand).map(|(weight, amount)| weight * amount).sum()
}

type Column = ([f64; ROWS], f64);

/// In cores, GiB, slots and nodes, so that the numbers are of one order of magnitude.
fn columns(sizes: &[Size]) -> Vec<Column> {
    let column = |size: &Size| {
        (
            [cores(size.cpu), gib(size.memory), size.pods as f64, 1.0],
            size.price as f64 / 1e9,
        )
    };
    sizes.iter().map(column).collect()
}

fn demand(needs: &Needs) -> [f64; ROWS] {
    [
        cores(needs.cpu),
        gib(needs.memory),
        needs.pods as f64,
        needs.hosts as f64,
    ]
}

fn cores(milli: i64) -> f64 {
    milli as f64 / 1000.0
}

fn gib(bytes: i64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// The dual's solution, made feasible to the last bit, and the primal's: how many nodes of each size.
///
/// The simplex method on the dual, `maximize demand * y, such that capacity(s) * y <= price(s) for each s, y >= 0`. Doing
/// nothing is a solution to begin with, since no price is negative. Bland's rule keeps it from going round in circles on
/// sizes whose price is proportional to what they have.
fn solve(columns: &[Column], demand: &[f64; ROWS]) -> ([f64; ROWS], Vec<f64>) {
    const EPSILON: f64 = 1e-12;
    // Row s says: the variable `basic[s]` is `rhs - sum of row * the variables that are not basic`. Variables below ROWS
    // are the dual's y; ROWS + s is what the size s costs more than it is worth.
    let mut rows: Vec<[f64; ROWS]> = columns.iter().map(|(capacity, _)| *capacity).collect();
    let mut rhs: Vec<f64> = columns.iter().map(|(_, price)| *price).collect();
    let mut gain = *demand;
    let mut basic: Vec<usize> = (ROWS..ROWS + rows.len()).collect();
    let mut free: [usize; ROWS] = std::array::from_fn(|index| index);
    loop {
        let entering = (0..ROWS)
            .filter(|column| EPSILON < gain[*column])
            .min_by_key(|column| free[*column]);
        let Some(column) = entering else { break };
        let ratio = |row: &usize| rhs[*row] / rows[*row][column];
        let leaving = (0..rows.len())
            .filter(|row| EPSILON < rows[*row][column])
            .min_by(|a, b| ratio(a).total_cmp(&ratio(b)).then(basic[*a].cmp(&basic[*b])));
        let row = leaving.expect("every resource that is asked for is offered by some size");

        let pivot = rows[row][column];
        let mut pivot_row = rows[row].map(|value| value / pivot);
        pivot_row[column] = 1.0 / pivot;
        let pivot_rhs = rhs[row] / pivot;
        for other in (0..rows.len()).filter(|other| *other != row) {
            let factor = rows[other][column];
            rows[other][column] = 0.0;
            for (value, of_pivot) in rows[other].iter_mut().zip(pivot_row) {
                *value -= factor * of_pivot;
            }
            rhs[other] = (rhs[other] - factor * pivot_rhs).max(0.0);
        }
        let factor = gain[column];
        gain[column] = 0.0;
        for (value, of_pivot) in gain.iter_mut().zip(pivot_row) {
            *value -= factor * of_pivot;
        }
        (rows[row], rhs[row]) = (pivot_row, pivot_rhs);
        std::mem::swap(&mut basic[row], &mut free[column]);
    }
    let mut weights = [0.0; ROWS];
    for (variable, value) in basic.iter().zip(&rhs).filter(|(variable, _)| **variable < ROWS) {
        weights[*variable] = *value;
    }
    let worth = |capacity: &[f64; ROWS]| -> f64 {
        capacity
            .iter()
            .zip(weights)
            .map(|(amount, weight)| amount * weight)
            .sum()
    };
    let excess = columns
        .iter()
        .map(|(capacity, price)| worth(capacity) / price)
        .fold(1.0, f64::max);
    let weights = weights.map(|weight| weight / excess);
    let mut nodes = vec![0.0; columns.len()];
    for (variable, cost) in free.iter().zip(gain).filter(|(variable, _)| ROWS <= **variable) {
        nodes[*variable - ROWS] = -cost;
    }
    (weights, nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const GIB: i64 = 1 << 30;

    #[test]
    fn the_scarcest_resource_sets_the_price() {
        let size = Size {
            cpu: 4000,
            memory: 16 * GIB,
            pods: 110,
            price: 100_000_000,
        };
        let needs = Needs {
            cpu: 40_000,
            memory: 16 * GIB,
            pods: 20,
            hosts: 0,
        };
        assert!((lower_bound(&[size], &needs) - 1.0).abs() < 1e-9);
        assert!((lower_bound(&[size], &Needs { hosts: 30, ..needs }) - 3.0).abs() < 1e-9);
        assert!((lower_bound(&[size], &Needs { pods: 220, ..needs }) - 1.0).abs() < 1e-9);
        assert!((lower_bound(&[size], &Needs { pods: 2200, ..needs }) - 2.0).abs() < 1e-9);
    }

    /// Both programs have a solution of the same value, so both are optimal.
    #[test]
    fn the_primal_solution_proves_the_bound() {
        for seed in 0..500 {
            let mut random = Random::new(seed);
            let mut size = || Size {
                cpu: 500 * (1 + random.below(64) as i64),
                memory: GIB * (1 + random.below(128) as i64),
                pods: 10 * (1 + random.below(25) as i64),
                price: 1_000_000 * (1 + random.below(1000) as i64),
            };
            let sizes: Vec<_> = (0..1 + seed % 40).map(|_| size()).collect();
            let needs = Needs {
                cpu: 100 * random.below(100_000) as i64,
                memory: GIB * random.below(50_000) as i64,
                pods: random.below(10_000) as i64,
                hosts: random.below(1000) as i64,
            };
            let (columns, demand) = (columns(&sizes), demand(&needs));
            let (weights, nodes) = solve(&columns, &demand);
            let bound = lower_bound(&sizes, &needs);
            assert!(weights.iter().all(|weight| 0.0 <= *weight), "seed {seed}: {weights:?}");
            for (capacity, price) in &columns {
                let worth: f64 = capacity
                    .iter()
                    .zip(weights)
                    .map(|(amount, weight)| amount * weight)
                    .sum();
                assert!(
                    worth <= price * (1.0 + 1e-12),
                    "seed {seed}: a size is worth more than its price"
                );
            }
            for (row, amount) in demand.iter().enumerate() {
                let bought: f64 = columns
                    .iter()
                    .zip(&nodes)
                    .map(|((capacity, _), count)| capacity[row] * count)
                    .sum();
                assert!(
                    amount * (1.0 - 1e-9) <= bought + 1e-6,
                    "seed {seed}: row {row} has {bought} of {amount}"
                );
            }
            let price: f64 = columns
                .iter()
                .zip(&nodes)
                .map(|((_, price), count)| price * count)
                .sum();
            assert!(
                (price - bound).abs() <= 1e-6 * price.max(1.0),
                "seed {seed}: {price} and {bound}"
            );
        }
    }
}
