//! Bytes for several destinations: sealed once, sent once over every edge that the ways share, and at a
//! gateway that writes to several of them there once. Whoever did not get them gets them again.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use futures::stream::BoxStream;
use skyhaul_engine::trace;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Error, Fault, Hasher, Result, Side, TransferId};
use skyhaul_stores::payload::Payload;
use skyhaul_stores::several::{Fanout, Key, Member, is_timeless};
use skyhaul_stores::{PartStream, PartWrite, PutReceipt, PutRequest, Store as _, UploadToken};
use tokio::time::Instant;

use crate::ask::{Asked, Path, Sealing};
use crate::body::Body;
use crate::call::{Call, Reply, Target};
use crate::node::lock;
use crate::remote::{
    PATIENCE, PAUSE, RemoteStore, accepted, calls_of, confused, hashed, is_of, part_of, put_of,
    puts_of, unreachable,
};
use crate::routes::{Chosen, Routes};

/// Destinations that the same gateways write to.
#[derive(Debug)]
struct Place {
    routes: Arc<Routes>,
    /// Which of the destinations, by their place among all.
    destinations: Vec<usize>,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Broadcast {
    transfer: TransferId,
    sealing: Sealing,
    /// Each destination, for what it is asked by itself.
    remotes: Vec<Arc<RemoteStore>>,
    places: Vec<Place>,
}

impl Broadcast {
    /// Sends to all of these. Those that have the same ways are asked together.
    #[must_use]
    pub fn new(transfer: TransferId, sealing: Sealing, remotes: Vec<Arc<RemoteStore>>) -> Self {
        let mut places: Vec<Place> = Vec::new();
        for (destination, remote) in remotes.iter().enumerate() {
            let routes = remote.routes();
            match places
                .iter_mut()
                .find(|place| Arc::ptr_eq(&place.routes, routes))
            {
                Some(place) => place.destinations.push(destination),
                None => places.push(Place {
                    routes: Arc::clone(routes),
                    destinations: vec![destination],
                }),
            }
        }
        Self {
            transfer,
            sealing,
            remotes,
            places,
        }
    }

    fn target(&self, destination: usize, member: &Member, token: Option<&UploadToken>) -> Target {
        let remote = &self.remotes[destination];
        Target {
            destination: destination as u32,
            rename: Some(member.rename.clone()),
            token: token.cloned(),
            timeless: is_timeless(&**remote),
        }
    }

    /// Makes a call at all destinations until each has replied, as [`RemoteStore`] does at one.
    async fn ask(&self, targets: &[Target], call: &Call, body: &Payload) -> Vec<Result<Reply>> {
        let deadline = Instant::now() + PATIENCE;
        let mut replies: Vec<Option<Result<Reply>>> = targets.iter().map(|_| None).collect();
        loop {
            let waiting: Vec<bool> = replies.iter().map(Option::is_none).collect();
            let body = Body::Whole(body.clone());
            let asked = self.ask_once(targets, &waiting, call, body, deadline).await;
            let may_again = Instant::now() + PAUSE < deadline;
            for (destination, reply) in asked {
                match reply {
                    Err(error) if error.side == Side::Relay && error.retryable && may_again => {
                        tracing::debug!(destination, "a call is made again: {error}");
                    }
                    reply => replies[destination] = Some(reply),
                }
            }
            if replies.iter().all(Option::is_some) {
                let each = replies.into_iter();
                return each
                    .map(|reply| reply.unwrap_or_else(|| Err(confused())))
                    .collect();
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes a call once at those destinations that wait for it.
    async fn ask_once(
        &self,
        targets: &[Target],
        waiting: &[bool],
        call: &Call,
        body: Body,
        deadline: Instant,
    ) -> Vec<(usize, Result<Reply>)> {
        let mut chosen: Vec<(Chosen<'_>, Vec<usize>)> = Vec::new();
        let mut replies = Vec::new();
        let mut paths: Vec<Path> = Vec::new();
        for place in &self.places {
            let here = place.destinations.iter().copied();
            let here: Vec<usize> = here.filter(|destination| waiting[*destination]).collect();
            if here.is_empty() {
                continue;
            }
            match place.routes.find(call.len(), &paths, deadline).await {
                Some(way) => {
                    trace::takes(way.hops());
                    paths.push(way.path.clone());
                    chosen.push((way, here));
                }
                None => replies.extend(here.into_iter().map(|at| (at, Err(unreachable())))),
            }
        }
        let asked = chosen.iter_mut().map(|(way, here)| Asked {
            path: way.path.clone(),
            targets: here.iter().map(|at| targets[*at].clone()).collect(),
            slot: way.slot.take(),
        });
        let asked: Vec<Asked> = asked.collect();
        let Some((first, _)) = chosen.first() else {
            return replies;
        };
        let node = first.routes().node();
        let call = (self.transfer.clone(), call.clone());
        let each = match node.ask(asked, self.sealing, call, Some(body)).await {
            Ok(each) => each,
            Err(error) => {
                let copies = Fault::from(error).copies(chosen.len());
                copies.map(Err).collect()
            }
        };
        for ((way, here), reply) in chosen.iter().zip(each) {
            match reply {
                Ok(each) if each.len() == here.len() => {
                    let each = each.into_iter().map(accepted);
                    replies.extend(here.iter().copied().zip(each));
                }
                Ok(_) => replies.extend(here.iter().map(|at| (*at, Err(confused())))),
                Err(error) => {
                    if error.side == Side::Relay {
                        way.rest();
                    }
                    let lost = Fault::from(error).copies(here.len()).map(Err);
                    replies.extend(here.iter().copied().zip(lost));
                }
            }
        }
        replies
    }

    fn targets(&self, members: &[Member], tokens: Option<&[UploadToken]>) -> Vec<Target> {
        let each = members.iter().enumerate();
        let target = |(at, member)| {
            let token = tokens.and_then(|tokens| tokens.get(at));
            self.target(at, member, token)
        };
        each.map(target).collect()
    }
}

#[async_trait]
impl Fanout for Broadcast {
    async fn put(
        &self,
        members: &[Member],
        key: &str,
        request: PutRequest,
    ) -> Vec<Result<PutReceipt>> {
        let (call, object) = Call::put(key, request);
        let targets = self.targets(members, None);
        let asked = self.ask(&targets, &call, &object).await;
        let each = asked.into_iter();
        each.map(|reply| reply.and_then(put_of)).collect()
    }

    async fn put_many(
        &self,
        members: &[Member],
        puts: Vec<(String, PutRequest)>,
    ) -> Vec<Vec<Result<PutReceipt>>> {
        let targets = self.targets(members, None);
        let calls = calls_of(puts).into_iter().map(|(heads, objects)| {
            let targets = &targets;
            async move {
                let count = heads.len();
                let asked = self.ask(targets, &Call::PutMany { heads }, &objects).await;
                let each = asked.into_iter();
                each.map(move |reply| puts_of(reply, count))
            }
        });
        let mut all: Vec<_> = members.iter().map(|_| Vec::new()).collect();
        for each in join_all(calls).await {
            for (all, some) in all.iter_mut().zip(each) {
                all.extend(some);
            }
        }
        all
    }

    async fn put_part(
        &self,
        members: &[Member],
        key: Key<'_>,
        part: PartWrite,
    ) -> Vec<Result<PartReceipt>> {
        let Some(token) = key.tokens.first() else {
            return Vec::new();
        };
        let (call, part) = Call::put_part(key.key, token, part);
        let targets = self.targets(members, Some(key.tokens));
        let asked = self.ask(&targets, &call, &part).await;
        asked
            .into_iter()
            .map(|reply| reply.and_then(part_of))
            .collect()
    }

    async fn stream_part(
        &self,
        members: &[Member],
        key: Key<'_>,
        part: PartStream,
    ) -> Vec<Result<PartReceipt>> {
        let Some(token) = key.tokens.first() else {
            return Vec::new();
        };
        let call = Call::stream_part(key.key, token, &part);
        let targets = self.targets(members, Some(key.tokens));
        let hasher = Arc::new(Mutex::new(part.algorithm.map(Hasher::new)));
        let body: BoxStream<'static, Result<Bytes>> = hashed(part.body, Arc::clone(&hasher));
        let waiting = vec![true; targets.len()];
        let deadline = Instant::now() + PATIENCE;
        let body = Body::Stream(body);
        let mut asked = self
            .ask_once(&targets, &waiting, &call, body, deadline)
            .await;
        asked.sort_unstable_by_key(|(destination, _)| *destination);
        let sent = lock(&hasher).take().map(Hasher::finish);
        let written = asked.into_iter().map(|(at, reply)| {
            let receipt = reply.and_then(part_of)?;
            let name = || self.remotes[at].uri(&members[at].rename.key(key.key));
            is_of(&receipt, sent.as_ref()).map_err(|error: Error| error.object(name()))?;
            Ok(receipt)
        });
        written.collect()
    }
}
