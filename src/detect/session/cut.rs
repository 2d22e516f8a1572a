//! How rare a session has to be to be anomalous, from the rarities of all sessions alone.
//!
//! What comes in: how many sessions have a rarest deviation of which probability. What goes out: the probability below
//! which a session is anomalous. Normal sessions vary in ways that many of them share, broken ones in ways that few
//! share, so between the two there is an empty stretch; the cut goes through the middle of the widest one, on the scale of
//! logarithms. A constant does the same where the stretch lies around it, as it does in HDFS (0.015 to 0.11), but not
//! where a tenth of the sessions has the same fault, or where normal sessions have many rare ways to vary.

/// Where there is no clear gap: rarer than one session in 33. Measured on two sets of HDFS, where everything from 0.015
/// to 0.08 gives the same.
pub(super) const USUAL: f64 = 0.03;
/// No more than this share of the sessions is anomalous: where sessions vary in many ways, each has something rare.
/// Measured with templates strewn at random into the sessions of HDFS: F1 0.66 and 0.78 with it, 0.36 and 0.25 without.
const MOST: f64 = 0.12;
/// The cut lies in here: what is in a fifth of all sessions is normal, and one in 500 is rare.
const LEAST: f64 = 0.002;
const GREATEST: f64 = 0.25;
/// A gap is clear when it is wider than a factor of two, after one standard error of the counts at its ends.
const CLEAR: f64 = std::f64::consts::LN_2;
/// What a gap loses by each factor e of its middle below [`USUAL`]: the rarest deviations are far apart by chance.
const FAR: f64 = 0.3;

/// The cut. `rarities`: probability of the rarest deviation, and sessions, in any order.
#[must_use]
pub(super) fn cut(rarities: &[(f64, f64)]) -> f64 {
    let sessions: f64 = rarities.iter().map(|(_, count)| count).sum();
    let floor = 0.5 / (sessions + 1.0);
    let mut rare: Vec<(f64, f64)> = rarities.iter().map(|(p, count)| (p.clamp(floor, 0.5), *count)).collect();
    rare.extend([(floor, 0.0), (0.5, 0.0)]);
    rare.sort_unstable_by(|one, two| one.0.total_cmp(&two.0));
    let (mut sum, mut highest) = (0.0, 0.5);
    let mut best: Option<(f64, f64)> = None;
    for pair in rare.windows(2) {
        let [low, high] = pair else { continue };
        sum += low.1;
        if sum > MOST * sessions {
            highest = low.0;
            break;
        }
        let found = gap(low.0, high.0, floor, sessions);
        best = found.filter(|(worth, _)| best.is_none_or(|(known, _)| *worth > known)).or(best);
    }
    best.map_or(USUAL.min(highest), |(_, middle)| middle)
}

/// Worth and middle of a gap that is clear.
fn gap(low: f64, high: f64, floor: f64, sessions: f64) -> Option<(f64, f64)> {
    // A probability p is that of about p x sessions sessions, known to its square root.
    let error = |p: f64| 1.0 / (p * (sessions + 1.0)).sqrt();
    let (from, to) = (low.max(LEAST), high.min(GREATEST));
    if to <= from {
        return None;
    }
    let below = if low < LEAST || low <= floor { 0.0 } else { error(low) };
    let above = if high > GREATEST { 0.0 } else { error(high) };
    let width = (to / from).ln() - below - above;
    let middle = (from * to).sqrt();
    (width > CLEAR).then(|| (width - FAR * (USUAL / middle).ln().max(0.0), middle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rarities: &[(f64, f64)], from: f64, to: f64) {
        let found = cut(rarities);
        assert!((from..=to).contains(&found), "{found} is not in {from} to {to}");
    }

    #[test]
    fn the_cut_goes_through_the_widest_gap() {
        // Sessions by the probability of what is rarest about them.
        let hdfs = [(0.001, 6.0), (0.0026, 7.0), (0.0041, 16.0), (0.0055, 31.0), (0.0076, 43.0), (0.011, 60.0)];
        let usual = [(0.015, 44.0), (0.113, 90.0), (0.247, 1317.0), (0.45, 1549.0), (0.98, 2575.0)];
        check(&[&hdfs[..], &usual].concat(), 0.02, 0.1);
        // A fault in one of fourteen sessions.
        check(&[(0.001, 1.0), (0.003, 3.0), (0.009, 9.0), (0.02, 20.0), (0.07, 70.0), (0.9, 900.0)], 0.07, 0.25);
        // Faults are rare, and normal sessions vary in ways that one in a hundred has.
        let rare = [(0.0006, 3.0), (0.009, 90.0), (0.013, 130.0), (0.02, 200.0), (0.035, 350.0), (0.06, 600.0)];
        check(&[&rare[..], &[(0.11, 1100.0), (0.2, 2000.0), (0.6, 5500.0)]].concat(), 0.0019, 0.009);
        // Nothing is known.
        check(&[], USUAL, USUAL);
        check(&[(0.9, 1000.0)], 0.004, 0.1);
    }

    #[test]
    fn without_a_gap_few_sessions_are_anomalous() {
        let even: Vec<(f64, f64)> = (1..200).map(|n| (f64::from(n) / 400.0, 50.0)).collect();
        check(&even, 0.01, USUAL);
        let share = even.iter().filter(|(p, _)| *p < cut(&even)).map(|(_, count)| count).sum::<f64>() / 9_950.0;
        assert!(share <= MOST + 1e-9, "{share}");
    }
}
