//! What makes a packing cheaper once it is complete: needless nodes are left out, and the others get the cheapest offer
//! that holds their pods.

use std::sync::Arc;

use super::Packer;
use crate::{
    snapshot::{Expander, PodId},
    template::Template,
    world::BinId,
};

impl Packer<'_, '_> {
    /// Leaves out every new node whose pods all find room on the other new nodes, the emptiest first.
    pub(super) fn drop_needless_nodes(&mut self) {
        let snapshot = self.world.snapshot();
        let mut order: Vec<usize> = (0..self.new_nodes.len()).collect();
        order.sort_by_key(|index| {
            let pods = self.new_nodes.get(*index).map_or(&[][..], |node| &node.pods);
            pods.iter()
                .map(|pod| self.weights.of(snapshot, snapshot.pod(*pod).class))
                .sum::<i128>()
        });
        for index in order {
            let Some(node) = self.new_nodes.get(index) else {
                continue;
            };
            let (bin, offer, pods) = (node.bin, node.offer, node.pods.clone());
            let mark = self.world.mark();
            let mut moves = Vec::with_capacity(pods.len());
            for pod in &pods {
                self.world.unplace(snapshot.pod(*pod).class, bin);
            }
            self.world.remove(bin);
            for pod in &pods {
                let class = snapshot.pod(*pod).class;
                // Other pods were placed by where this one is.
                let target = self.new_nodes.iter().position(|other| {
                    other.bin != bin
                        && !other.pods.is_empty()
                        && self.world.misfit(class, other.bin).is_none()
                        && self.world.counts_the_same(class, bin, other.bin)
                });
                let Some((target, node)) = target.and_then(|target| Some((target, self.new_nodes.get(target)?))) else {
                    break;
                };
                self.world.place(class, node.bin);
                moves.push((*pod, target));
            }
            if moves.len() < pods.len() {
                self.world.rollback(mark);
                continue;
            }
            for (pod, target) in moves {
                if let Some(node) = self.new_nodes.get_mut(target) {
                    node.pods.push(pod);
                }
            }
            if let Some(node) = self.new_nodes.get_mut(index) {
                node.pods.clear();
            }
            if let Some(offer) = self.offers.list.get(offer) {
                self.limits.give_back(offer.group);
            }
        }
        self.new_nodes.retain(|node| !node.pods.is_empty());
    }

    /// Gives every new node the cheapest offer that holds all its pods, as far as the criteria before price allow.
    pub(super) fn right_size(&mut self) {
        let snapshot = self.world.snapshot();
        let expanders = &snapshot.settings.expanders;
        let Some(price_at) = expanders.iter().position(|expander| *expander == Expander::Price) else {
            return;
        };
        let before = expanders.get(..price_at).unwrap_or_default();
        if before.iter().any(|expander| *expander != Expander::Priority) {
            return;
        }
        let keep_priority = !before.is_empty();
        for index in 0..self.new_nodes.len() {
            let Some(node) = self.new_nodes.get(index) else {
                continue;
            };
            let (bin, old, pods) = (node.bin, node.offer, node.pods.clone());
            let Some((old_group, old_template)) = self.open_offer(old) else {
                continue;
            };
            let mut best: Option<(i64, usize)> = None;
            for candidate in 0..self.offers.list.len() {
                let Some((group, template)) = self.open_offer(candidate) else {
                    continue;
                };
                let price = template.hourly_price.nanos();
                let cheaper = price < old_template.hourly_price.nanos() && best.is_none_or(|(best, _)| price < best);
                let same_rank = !keep_priority || self.offer_priority(candidate) == self.offer_priority(old);
                // A group at its minimum would be filled up again, so moving its node away saves nothing.
                let room = group == old_group
                    || (self.limits.has_room_besides(group, old_group) && !self.limits.at_minimum(old_group));
                if cheaper && same_rank && room && self.holds(&template, bin, &pods) {
                    best = Some((price, candidate));
                }
            }
            if let Some((_, offer)) = best
                && let Some((group, template)) = self.open_offer(offer)
            {
                for pod in &pods {
                    self.world.unplace(snapshot.pod(*pod).class, bin);
                }
                self.world.remove(bin);
                let bin = self.world.add(&template);
                let Some(node) = self.new_nodes.get_mut(index) else {
                    continue;
                };
                for pod in &pods {
                    self.world.place(snapshot.pod(*pod).class, bin);
                }
                (node.bin, node.offer) = (bin, offer);
                self.limits.give_back(old_group);
                self.limits.take(group);
            }
        }
    }

    /// Whether a new node of this template could take the place of a planned one.
    pub(super) fn holds(&mut self, template: &Arc<Template>, old: BinId, pods: &[PodId]) -> bool {
        let snapshot = self.world.snapshot();
        let mark = self.world.mark();
        for pod in pods {
            self.world.unplace(snapshot.pod(*pod).class, old);
        }
        self.world.remove(old);
        let bin = self.world.add(template);
        let all = pods.iter().all(|pod| {
            let class = snapshot.pod(*pod).class;
            let fits = self.world.misfit(class, bin).is_none() && self.world.counts_the_same(class, old, bin);
            if fits {
                self.world.place(class, bin);
            }
            fits
        });
        self.world.rollback(mark);
        all
    }
}
