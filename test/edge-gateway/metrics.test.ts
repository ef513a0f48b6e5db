/**
 * What Prometheus reads: every metric of the list, under its name, with its help, fed by events and status, and a line in
 * the runbook for each.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Peer } from '#edge-gateway/dimse/events.ts';
import { createMetrics, METRIC_PREFIX, metricList } from '#edge-gateway/metrics.ts';
import { cableOut, everything, goodDay } from './http/status-fixture.ts';

const peer: Peer = { callingAeTitle: 'CT1', calledAeTitle: 'ARCHIPEL', address: '10.0.0.1', isSecure: false };

describe('the metrics', () => {
  it('are all there, with their help', async () => {
    const metrics = createMetrics();
    const text = await metrics.text(goodDay());
    metrics.close();
    for (const [name, { help }] of Object.entries(metricList)) {
      expect(text).toContain(`# HELP ${METRIC_PREFIX}${name} ${help}\n`);
    }
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]);
    expect(names.sort()).toEqual(
      Object.keys(metricList)
        .map((name) => METRIC_PREFIX + name)
        .sort(),
    );
    expect(metrics.contentType).toContain('text/plain');
  });

  it('say what the status says, however often they are asked', async () => {
    const metrics = createMetrics();
    await metrics.text(goodDay());
    const text = await metrics.text(cableOut());
    metrics.close();
    for (const line of [
      'archipel_edge_info{version="0.1.0"} 1',
      'archipel_edge_instances{state="archived"} 214507',
      'archipel_edge_backlog_instances 3120',
      'archipel_edge_backlog_oldest_seconds 10800',
      'archipel_edge_uploaded_bytes_total 9000000000',
      'archipel_edge_cloud_reachable 0',
      'archipel_edge_healthy 1',
    ])
      expect(text.split('\n')).toContain(line);
  });

  it('say how commitments, recall, routes and the disk stand', async () => {
    const metrics = createMetrics();
    const lines = (await metrics.text(everything())).split('\n');
    metrics.close();
    for (const line of [
      'archipel_edge_clock_skew_seconds 240',
      'archipel_edge_upload_time 0',
      'archipel_edge_recalled_packs_total 31',
      'archipel_edge_recall_failures_total 1',
      'archipel_edge_commitments_undecided 7',
      'archipel_edge_route_waiting_packs{to="AI-LUNG"} 14',
      'archipel_edge_disk_days_until_full 24.2',
      'archipel_edge_cache_evictable_bytes 106000000000',
    ])
      expect(lines).toContain(line);
  });

  it('count what happens at the door', async () => {
    const metrics = createMetrics();
    metrics.note({ kind: 'association-accepted', peer });
    metrics.note({ kind: 'association-rejected', peer, reject: { result: 2, source: 3, reason: 2 }, why: 'x' });
    metrics.note({ kind: 'connections-cut', why: 'too-many', count: 3 });
    for (const outcome of ['stored', 'stored', 'refused'] as const)
      metrics.note({
        kind: 'store',
        peer,
        sopInstanceUid: '1.2',
        transferSyntaxUid: '1.2.840.10008.1.2',
        lengthBytes: 1,
        durationMs: 20,
        status: 0,
        outcome,
      });
    const counts = { completed: 5, failed: 1, warning: 2 };
    metrics.note({
      kind: 'retrieve',
      peer,
      operation: 'move',
      destination: 'PACS',
      level: 'STUDY',
      counts,
      durationMs: 1,
      status: 0xb000,
    });
    const lines = (await metrics.text(goodDay())).split('\n');
    metrics.close();
    for (const line of [
      'archipel_edge_associations_total{result="accepted"} 1',
      'archipel_edge_associations_total{result="rejected 2/3/2"} 1',
      'archipel_edge_connections_cut_total{why="too-many"} 3',
      'archipel_edge_stores_total{outcome="stored"} 2',
      'archipel_edge_store_seconds_bucket{le="0.025"} 3',
      'archipel_edge_retrieved_instances_total{result="completed"} 7',
      'archipel_edge_retrieves_total{operation="move",status="B000H"} 1',
    ])
      expect(lines).toContain(line);
  });

  it('have a line in the runbook each', () => {
    const runbook = readFileSync(new URL('../../infra/RUNBOOK.md', import.meta.url), 'utf8');
    for (const name of Object.keys(metricList)) expect(runbook).toContain(`\`${name}\``);
  });
});
