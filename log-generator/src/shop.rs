//! The shop made ready: lines read, choices weighted, rates scaled to a plan.
//!
//! What comes in: the tables of `service` and `flow`, and a plan. What goes out: indices and numbers, so that drawing
//! and writing need no look-up by name.

use crate::flow::FLOWS;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::service::{Level, Role, SHOP};
use crate::template::{Part, Template};

/// A line ready to be written.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) template: Template,
    pub(crate) service: u8,
    pub(crate) level: Level,
    key: &'static str,
    /// Has a duration.
    pub(crate) timed: bool,
    /// Has an amount or a quantity.
    pub(crate) valued: bool,
    /// Reports the gauge of the disk or the heap.
    pub(crate) gauge: bool,
}

/// Lines to choose among by weight.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    lines: Vec<(f64, u16)>,
    total: f64,
}

impl Choice {
    fn add(&mut self, weight: f64, line: u16) {
        self.total += weight;
        self.lines.push((self.total, line));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> Option<u16> {
        let at = rng.unit() * self.total;
        self.lines.iter().find(|(border, _)| at < *border).or(self.lines.last()).map(|(_, line)| *line)
    }
}

/// What one service can write and how much it does.
#[derive(Debug)]
pub(crate) struct Repertoire {
    pub(crate) name: &'static str,
    pub(crate) pods: u8,
    pub(crate) warns: Choice,
    pub(crate) errors: Choice,
    pub(crate) batch: Choice,
    pub(crate) cron: Choice,
    pub(crate) fresh: Vec<u16>,
    pub(crate) start: Vec<u16>,
    pub(crate) stop: Vec<u16>,
    /// Lines of an everyday stack trace, and of one never seen before.
    pub(crate) frames: Vec<u16>,
    pub(crate) new_frames: Vec<u16>,
    /// First and last index of the lines that throw.
    thrown: Vec<u16>,
    lines: std::ops::Range<u16>,
    /// Probability that an ordinary line brings a warning, and an error.
    pub(crate) warn_chance: f64,
    pub(crate) error_chance: f64,
    /// Mean lines and warnings per second when nothing happens.
    pub(crate) rate: f64,
    pub(crate) warn_rate: f64,
}

impl Repertoire {
    /// Whether a stack trace follows `line`.
    #[inline]
    pub(crate) fn throws(&self, line: u16) -> bool {
        self.thrown.contains(&line)
    }

    /// Mean lines that one everyday error brings.
    fn lines_per_error(&self) -> f64 {
        let mut before = 0.0;
        let mut lines = 0.0;
        for (border, line) in &self.errors.lines {
            lines += (border - before) * if self.throws(*line) { 1.0 + self.frames.len() as f64 } else { 1.0 };
            before = *border;
        }
        if self.errors.total > 0.0 { lines / self.errors.total } else { 1.0 }
    }
}

/// A step of a request: the line, its service, and the median microseconds since the step before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub(crate) line: u16,
    pub(crate) service: u8,
    pub(crate) gap: f64,
}

/// Something that happens at random moments: a kind of request, or a chatter line as a request of one step.
#[derive(Debug)]
pub(crate) struct Source {
    /// Mean count per second.
    pub(crate) rate: f64,
    pub(crate) rhythm: f64,
    pub(crate) stages: Vec<Stage>,
}

/// How far chatter follows the day.
const CHATTER_RHYTHM: f64 = 0.2;

/// The whole shop.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) lines: Vec<Ready>,
    pub(crate) services: Vec<Repertoire>,
    pub(crate) sources: Vec<Source>,
}

impl Shop {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut shop = Self { lines: Vec::new(), services: Vec::new(), sources: Vec::new() };
        for index in 0..SHOP.len() {
            shop.open(index);
        }
        for flow in FLOWS {
            let stages = flow.steps.iter().filter_map(|(service, key, gap)| shop.stage(service, key, *gap)).collect();
            shop.sources.push(Source { rate: flow.weight, rhythm: flow.rhythm, stages });
        }
        shop.scale(plan);
        shop
    }

    /// Index of a service by its name.
    pub(crate) fn service(&self, name: &str) -> Option<u8> {
        self.services.iter().position(|service| service.name == name).map(|index| index as u8)
    }

    /// The lines of `service` under `key`, its own before those of everyone.
    pub(crate) fn keyed(&self, service: u8, key: &str) -> Vec<u16> {
        let range = self.services[usize::from(service)].lines.clone();
        range.filter(|line| self.lines[usize::from(*line)].key == key).collect()
    }

    fn stage(&self, service: &str, key: &str, gap: f64) -> Option<Stage> {
        let service = self.service(service)?;
        let line = *self.keyed(service, key).first()?;
        Some(Stage { line, service, gap: gap * 1000.0 })
    }

    fn open(&mut self, index: usize) {
        let service = SHOP[index];
        let first = self.lines.len() as u16;
        let mut open = Repertoire {
            name: service.name,
            pods: service.pods,
            warns: Choice::default(),
            errors: Choice::default(),
            batch: Choice::default(),
            cron: Choice::default(),
            fresh: Vec::new(),
            start: Vec::new(),
            stop: Vec::new(),
            frames: Vec::new(),
            new_frames: Vec::new(),
            thrown: Vec::new(),
            lines: first..first,
            warn_chance: service.warns,
            error_chance: service.errors,
            rate: 0.0,
            warn_rate: 0.0,
        };
        for line in service.repertoire() {
            let id = self.lines.len() as u16;
            let (template, _) = Template::read(&service.framed(line));
            match line.role {
                Role::Warn => open.warns.add(line.weight, id),
                Role::Error => open.errors.add(line.weight, id),
                Role::Thrown => {
                    open.errors.add(line.weight, id);
                    open.thrown.push(id);
                }
                Role::Frame if line.key.starts_with("new") => open.new_frames.push(id),
                Role::Frame => open.frames.push(id),
                Role::Fresh => open.fresh.push(id),
                Role::Batch => open.batch.add(line.weight, id),
                Role::Cron => open.cron.add(line.weight, id),
                Role::Start => open.start.push(id),
                Role::Stop => open.stop.push(id),
                Role::Chatter => self.sources.push(Source {
                    rate: line.weight,
                    rhythm: CHATTER_RHYTHM,
                    stages: vec![Stage { line: id, service: index as u8, gap: 1.0 }],
                }),
                Role::Step | Role::Fault(_) => {}
            }
            self.lines.push(Ready {
                service: index as u8,
                level: line.role.level(),
                key: line.key,
                timed: template.has(|part| matches!(part, Part::Millis(_))),
                valued: template.has(|part| matches!(part, Part::Amount | Part::Quantity)),
                gauge: line.role == Role::Chatter && template.has(|part| part == Part::Gauge),
                template,
            });
        }
        open.lines.end = self.lines.len() as u16;
        self.services.push(open);
    }

    /// Turns weights into rates, so that the plan's rate and shares come out in the mean.
    fn scale(&mut self, plan: &Plan) {
        let ordinary = (1.0 - plan.warnings - plan.errors).max(0.2);
        let mut info = vec![0.0; self.services.len()];
        for source in &self.sources {
            for stage in &source.stages {
                info[usize::from(stage.service)] += source.rate;
            }
        }
        let total: f64 = info.iter().sum();
        let scale = plan.rate.clamp(0.1, 200_000.0) * ordinary / total;
        let sum = |weight: &dyn Fn(&Repertoire) -> f64| -> f64 {
            self.services.iter().zip(&info).map(|(service, info)| info * weight(service)).sum()
        };
        let warn = plan.warnings / ordinary * total / sum(&|service| service.warn_chance);
        let error = plan.errors / ordinary * total / sum(&|service| service.error_chance * service.lines_per_error());
        for (service, info) in self.services.iter_mut().zip(info) {
            let info = info * scale;
            service.warn_chance = (service.warn_chance * warn).min(1.0);
            service.error_chance = (service.error_chance * error).min(1.0);
            service.warn_rate = info * service.warn_chance;
            service.rate = info + service.warn_rate + info * service.error_chance * service.lines_per_error();
        }
        for source in &mut self.sources {
            source.rate *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn every_step_finds_its_line() {
        let shop = Shop::new(&Plan::default());
        for flow in FLOWS {
            for (service, key, _) in flow.steps {
                assert!(shop.stage(service, key, 1.0).is_some(), "{service} {key}");
            }
        }
    }

    #[test]
    fn rates_add_up_to_the_plan() {
        let shop = Shop::new(&Plan { rate: 250.0, ..Plan::default() });
        let total: f64 = shop.services.iter().map(|service| service.rate).sum();
        assert!((total - 250.0).abs() < 1e-6, "{total}");
        for service in &shop.services {
            assert!(service.rate > 1.0, "{} is too quiet: {}", service.name, service.rate);
        }
    }

    #[test]
    fn every_place_of_a_fault_exists() {
        let shop = Shop::new(&Plan::default());
        for kind in FaultKind::ALL {
            for name in kind.places().iter().flat_map(|places| *places) {
                assert!(shop.service(name).is_some(), "{kind}: {name}");
            }
        }
    }
}
