//! Where bounds on what is used make no sense: the sources `cpu` and `memory`, which tell in percent what is used, and nothing of
//! a pool without workers; and what a worker may use before it is replaced.
//!
//! A document that would never do what its author thinks is refused with the field that does.

use super::tree::{Broken, at};
use crate::model::policy::PolicySpec;
use crate::model::pool::PoolSpec;
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

/// The broken rules of when a worker is replaced.
pub(super) fn recycle(pool: &PoolSpec, broken: &mut Vec<Broken>) {
    let Some(recycle) = &pool.template.recycle else { return };
    if recycle.max_lifetime.is_none() && recycle.max_tasks.is_none() && recycle.max_memory.is_none() {
        broken.push((at("spec.template.recycle"), "needs at least one of maxLifetime, maxTasks, maxMemory".into()));
    }
    if recycle.max_tasks.is_some() && pool.queue.is_none() {
        let message = "tasks are counted of the pool's own queue, and there is none: give spec.queue";
        broken.push((at("spec.template.recycle.maxTasks"), message.into()));
    }
}
