//! Where the sources `cpu` and `memory` make no sense: they tell in percent what is used, and nothing of a pool without workers.
//!
//! A document that would never do what its author thinks is refused with the field that does.

use super::tree::{Broken, at};
use crate::model::policy::PolicySpec;
use crate::model::scale::Scale;

/// The broken rules of what scales a pool.
pub(super) fn scale(scale: &Scale, broken: &mut Vec<Broken>) {
    let measured = |n: &usize| scale.triggers[*n].source.used().is_some();
    for n in (0..scale.triggers.len()).filter(measured) {
        let trigger = &scale.triggers[n];
        let path = format!("spec.scale.triggers.{n}");
        if trigger.exact.is_some() {
            let message = "a percent is no number of workers: give targetPerWorker or step";
            broken.push((at(&format!("{path}.exact")), message.into()));
        }
        if trigger.step.as_ref().is_some_and(|step| step.up.above_per_worker.is_some()) {
            let message = "a percent is of all workers together: give above";
            broken.push((at(&format!("{path}.step.up.abovePerWorker")), message.into()));
        }
    }
    if scale.min_replicas == 0 && !scale.triggers.is_empty() && scale.triggers.iter().all(|t| t.source.used().is_some()) {
        let message =
            "found 0, where only cpu and memory are asked: a pool without workers uses nothing, and would never start one";
        broken.push((at("spec.scale.minReplicas"), message.into()));
    }
    for (n, quota) in scale.quota.iter().enumerate() {
        if let Some(of) = quota.source.used() {
            let message = "a quota is what is left, and this is what is used: give headroom or a trigger";
            broken.push((at(&format!("spec.scale.quota.{n}.source.{}", of.name())), message.into()));
        }
    }
}

/// The broken rules of a policy's gauges.
pub(super) fn gauges(spec: &PolicySpec, broken: &mut Vec<Broken>) {
    for (n, gauge) in spec.gauges.iter().enumerate() {
        if let Some(of) = gauge.source.used() {
            let message = "the use of the target is recorded in any case";
            broken.push((at(&format!("spec.gauges.{n}.source.{}", of.name())), message.into()));
        }
    }
}
