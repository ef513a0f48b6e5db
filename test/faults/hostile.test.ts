/**
 * Hostile and broken peers against a gateway in its own process (floods, lies, silence, garbage, mutated streams and data sets):
 * it stays up and within its memory, ends what is bad at once and what is silent in time, and serves an honest peer throughout.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connect, type RequestorAssociation } from '#edge-gateway/dimse/client.ts';
import {
  associateRequest,
  dataPdu,
  echoPdu,
  pdu,
  RawPeer,
  storePdu,
  usualContexts,
} from '#test/edge-gateway/dimse/raw-peer.ts';
import { Authority, type CertificateFiles } from '#test/support/certificates.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { freePorts, until } from '#test/support/system.ts';
import { badStreams } from './bad-streams.ts';
import { Bystander, percentile } from './bystander.ts';
import { mutated } from './mutation.ts';
import { chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { Site } from './site.ts';

const seed = seedOfRun();
const HOSTILE = '127.0.0.2';
/** Of each kind of mutation: 10,000, or 1,250 for each of the rounds that were asked for. */
const CASES = 1_250 * roundsOfRun(8);
/** Generous, so that a busy machine does not fail it; what was measured is printed. */
const ECHO_BOUND_MS = 5_000;
const RSS_BOUND_BYTES = 1024 ** 3;
const CLOSE_BOUND_MS = 10_000;

let site: Site;
let peakRssBytes = 0;

let authority: Authority;
let tlsPort: number;
let modality: CertificateFiles;

beforeAll(async () => {
  authority = await Authority.create();
  const own = await authority.issue({ commonName: 'gateway' });
  modality = await authority.issue({ commonName: 'CT1' });
  [tlsPort] = (await freePorts(1)) as [number];
  const dicomTls = { port: tlsPort, ...own, authorityFile: authority.authorityFile };
  const lines = Object.entries(dicomTls).map(([name, value]) => `${name} = ${JSON.stringify(value)}\n`);
  site = await Site.create(undefined, `[dicomTls]\n${lines.join('')}`);
  await site.startGateway();
});
afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
  authority?.[Symbol.dispose]();
});
beforeEach(() => {
  peakRssBytes = 0;
});

function rssBytes(): number {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${site.gateway.pid}/status`, 'latin1'))?.[1];
  return Number(kilobytes) * 1024;
}

/** Runs an attack beside an honest peer, prints how that was served, and holds the gateway to its bounds. */
async function besideAnHonestPeer(name: string, attack: () => Promise<string | undefined>): Promise<void> {
  const bystander = new Bystander(site.dicomPort).start();
  const watch = setInterval(() => {
    peakRssBytes = Math.max(peakRssBytes, rssBytes());
  }, 50);
  let said: string | undefined;
  try {
    said = await attack();
  } finally {
    clearInterval(watch);
    await bystander.stop();
  }
  const [echo, call] = [percentile(bystander.echoMs, 0.99), percentile(bystander.callMs, 0.99)];
  console.log(
    `${name}: honest C-ECHO p99 ${echo.toFixed(1)} ms (${bystander.echoMs.length}), new association p99 ${call.toFixed(1)} ms, ` +
      `RSS ${Math.round(peakRssBytes / 1024 / 1024)} MiB${said === undefined ? '' : `; ${said}`}`,
  );
  expect(echo).toBeLessThan(ECHO_BOUND_MS);
  expect(peakRssBytes).toBeLessThan(RSS_BOUND_BYTES);
  expect(site.gateway.exitCode).toBeNull();
}

/** Writes a piece again and again until the connection is closed. */
async function writeWithoutEnd(raw: RawPeer, piece: Buffer): Promise<void> {
  const block = piece.length > 50_000 ? piece : Buffer.concat(Array.from({ length: 1_000 }, () => piece));
  while (!raw.isClosed) {
    if (raw.socket.write(block)) await pause(1);
    else await new Promise<void>((resolve) => raw.socket.once('drain', resolve).once('close', () => resolve()));
  }
}

describe('peers that are recognisably bad', () => {
  it('are closed at once', async () => {
    const took: { name: string; ms: number }[] = [];
    await besideAnHonestPeer('bad streams', async () => {
      for (const { name, bytes, endless } of badStreams(chanceOf(seed))) {
        const raw = new RawPeer(site.dicomPort, HOSTILE).send(bytes);
        const startedAtMs = performance.now();
        if (endless !== undefined) void writeWithoutEnd(raw, endless);
        await Promise.race([raw.closed(), pause(CLOSE_BOUND_MS)]);
        took.push({ name, ms: raw.isClosed ? performance.now() - startedAtMs : Number.POSITIVE_INFINITY });
        raw.destroy();
      }
      const slowest = took.reduce((a, b) => (a.ms > b.ms ? a : b));
      return `${took.length} streams, slowest closed after ${slowest.ms.toFixed(0)} ms (${slowest.name})`;
    });
    expect(took.filter(({ ms }) => ms >= CLOSE_BOUND_MS)).toEqual([]);
  });

  it('in thousands, each with faults of its own, leave it as it was', async () => {
    const chance = chanceOf(seed + 1);
    const whole = Buffer.concat([
      associateRequest({ asynchronousOperations: { invoked: 0, performed: 0 } }),
      echoPdu(),
      storePdu(2),
      dataPdu(
        { contextId: 3, control: 0, bytes: Buffer.alloc(64) },
        { contextId: 3, control: 2, bytes: Buffer.alloc(32) },
      ),
      storePdu(3, '1.2.3.5'),
      dataPdu({ contextId: 3, control: 2, bytes: makeInstance({ rows: 4, columns: 4 }).dataSet }),
      pdu(0x05, Buffer.alloc(4)),
    ]);
    let left = CASES;
    await besideAnHonestPeer('mutated PDU streams', async () => {
      const startedAtMs = performance.now();
      const worker = async (address: string) => {
        while (left-- > 0) {
          const raw = new RawPeer(site.dicomPort, address).send(mutated(whole, chance));
          raw.socket.end();
          await raw.closed();
        }
      };
      await Promise.all(Array.from({ length: 16 }, (_, i) => worker(`127.0.0.${2 + (i % 4)}`)));
      return `${CASES} streams in ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s, seed ${seed}`;
    });
  });

  it('with data sets full of faults get a definite answer for each', async () => {
    const chance = chanceOf(seed + 2);
    const made = [
      makeInstance({ rows: 8, columns: 8 }),
      makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2', rows: 8, columns: 8 }),
      makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.1.99', rows: 8, columns: 8 }),
      makeInstance({ transferSyntaxUid: '1.2.840.10008.1.2.5', pixels: [Uint8Array.of(1, 2, 3, 4)] }),
    ];
    const statuses = new Map<string, number>();
    let left = CASES;
    await besideAnHonestPeer('mutated data sets', async () => {
      const startedAtMs = performance.now();
      const worker = async (localName: string) => {
        const kinds = made.map(({ sopClassUid, transferSyntaxUid }) => ({
          abstractSyntax: sopClassUid,
          transferSyntaxes: [transferSyntaxUid],
        }));
        const association = await sender(localName, kinds);
        while (left-- > 0) {
          const { sopClassUid, transferSyntaxUid, ref, dataSet } = chance.pick(made);
          const broken = mutated(dataSet, chance);
          const answer = await association.store({
            sopClassUid,
            transferSyntaxUid,
            sopInstanceUid: ref.sopInstanceUid,
            dataSet: broken.length % 2 === 0 ? broken : broken.subarray(1),
          });
          const name = answer.status.toString(16).padStart(4, '0').toUpperCase();
          statuses.set(name, (statuses.get(name) ?? 0) + 1);
        }
        await association.release();
      };
      await Promise.all(Array.from({ length: 8 }, (_, i) => worker(`FUZZ${i}`)));
      const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
      return `${CASES} data sets in ${seconds} s, answered ${JSON.stringify(Object.fromEntries(statuses))}, seed ${seed}`;
    });
    const known = ['0000', 'A900', 'C000'];
    expect([...statuses.keys()].filter((status) => !known.includes(status))).toEqual([]);
    expect([...statuses.values()].reduce((a, b) => a + b, 0)).toBe(CASES);
  });
});

const sender = (
  callingAeTitle: string,
  contexts: { abstractSyntax: string; transferSyntaxes: string[] }[],
): Promise<RequestorAssociation> =>
  connect({ host: '127.0.0.1', port: site.dicomPort, callingAeTitle, calledAeTitle: 'ARCHIPEL', contexts });

describe('peers that are many', () => {
  it('500 idle connections from one address keep nobody else out, and end by ARTIM', async () => {
    await besideAnHonestPeer('500 idle connections', async () => {
      const idle = Array.from({ length: 500 }, () => new RawPeer(site.dicomPort, HOSTILE));
      const startedAtMs = performance.now();
      const open = () => idle.filter((raw) => !raw.isClosed).length;
      await until('all but 32 to be cut', 25_000, () => Promise.resolve(open() <= 32));
      const kept = open();
      await Promise.all(idle.map((raw) => raw.closed()));
      return `${kept} were kept, the last closed after ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`;
    });
  });

  it('500 idle connections from 100 addresses keep nobody out either', async () => {
    await besideAnHonestPeer('500 idle connections of 100 addresses', async () => {
      const idle = Array.from({ length: 500 }, (_, i) => new RawPeer(site.dicomPort, `127.0.2.${1 + (i % 100)}`));
      await pause(3_000);
      const kept = idle.filter((raw) => !raw.isClosed).length;
      for (const raw of idle) raw.destroy();
      return `${kept} were kept`;
    });
  });

  it('floods of associations are told to come back', async () => {
    await besideAnHonestPeer('2,000 associations', async () => {
      const answers = new Map<number, number>();
      const held: RawPeer[] = [];
      for (let i = 0; i < 2_000; i += 50) {
        await Promise.all(
          Array.from({ length: 50 }, async () => {
            const raw = new RawPeer(site.dicomPort, HOSTILE);
            const type = (await raw.associate().catch(() => Buffer.of(0)))[0] as number;
            answers.set(type, (answers.get(type) ?? 0) + 1);
            if (type === 2) held.push(raw);
            else raw.destroy();
          }),
        );
      }
      for (const raw of held) raw.destroy();
      expect(answers.get(2)).toBeLessThanOrEqual(32);
      return `${answers.get(2)} accepted, ${answers.get(3) ?? 0} rejected, ${answers.get(0) ?? 0} cut`;
    });
  });
});

describe('at the TLS port', () => {
  const calling = () => {
    const { keyFile, certificateFile } = modality;
    const [key, cert, ca] = [keyFile, certificateFile, authority.authorityFile].map((file) => readFileSync(file));
    return { ...(key && { key }), ...(cert && { cert }), ...(ca && { ca }) };
  };

  it('garbage is closed at once, within TLS too, and silence when the time for the handshake is over', async () => {
    const chance = chanceOf(seed + 3);
    const hello = Buffer.from([0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3]);
    await besideAnHonestPeer('TLS port', async () => {
      let slowestMs = 0;
      for (let i = 0; i < 300; i++) {
        const kinds = [
          associateRequest(),
          mutated(Buffer.concat([hello, Buffer.alloc(300, 7)]), chance),
          Buffer.alloc(9_999, 1),
        ];
        const raw = new RawPeer(tlsPort, HOSTILE).send(chance.pick(kinds));
        raw.socket.end();
        const startedAtMs = performance.now();
        await raw.closed();
        slowestMs = Math.max(slowestMs, performance.now() - startedAtMs);
      }
      for (const { name, bytes } of badStreams(chance)) {
        const socket = connectTls({ host: '127.0.0.1', port: tlsPort, ...calling() });
        const closed = new Promise((resolve) => socket.on('error', () => {}).once('close', resolve));
        socket.once('secureConnect', () => socket.write(bytes));
        socket.resume();
        const isWithoutEnd = / within a value|never ends|100 MB/.test(name);
        if (isWithoutEnd) socket.destroy();
        await closed;
      }
      const silent = Array.from({ length: 100 }, () => new RawPeer(tlsPort, HOSTILE));
      const startedAtMs = performance.now();
      await Promise.all(silent.map((raw) => raw.closed()));
      const silentSeconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
      const association = await connect({
        ...{ host: '127.0.0.1', port: tlsPort, callingAeTitle: 'CT1', calledAeTitle: 'ARCHIPEL' },
        contexts: usualContexts,
        tls: calling(),
      });
      expect(await association.echo()).toEqual({ status: 0 });
      await association.release();
      return `slowest garbage closed after ${slowestMs.toFixed(0)} ms, silence after ${silentSeconds} s`;
    });
  });
});

describe('peers that are slow', () => {
  it('a request a byte at a time is over when its time is', async () => {
    await besideAnHonestPeer('slowloris', async () => {
      const request = associateRequest();
      const startedAtMs = performance.now();
      const slow = Array.from({ length: 20 }, () => new RawPeer(site.dicomPort, HOSTILE));
      for (let i = 0; slow.some((raw) => !raw.isClosed) && i < request.length; i++) {
        for (const raw of slow) raw.send(request.subarray(i, i + 1));
        await pause(500);
      }
      await Promise.all(slow.map((raw) => raw.closed()));
      const seconds = (performance.now() - startedAtMs) / 1000;
      expect(seconds).toBeLessThan(60);
      return `closed after ${seconds.toFixed(1)} s`;
    });
  });

  it('instances that stop within, just below what is held in memory, keep nobody else from storing', async () => {
    await besideAnHonestPeer('32 instances that stop', async () => {
      const made = makeInstance({ rows: 1_000, columns: 1_000, frames: 4 });
      const slow = await Promise.all(
        Array.from({ length: 32 }, async (_, i) => {
          const raw = new RawPeer(site.dicomPort, HOSTILE);
          await raw.associate();
          raw.send(storePdu(1, `1.2.9.${i + 1}`));
          for (let at = 0; at < made.dataSet.length - 1_000; at += 100_000)
            raw.send(dataPdu({ contextId: 3, control: 0, bytes: made.dataSet.subarray(at, at + 100_000) }));
          return raw;
        }),
      );
      await pause(2_000);
      const association = await sender('STORING', [
        { abstractSyntax: made.sopClassUid, transferSyntaxes: [made.transferSyntaxUid] },
      ]);
      const tookMs: number[] = [];
      for (let i = 0; i < 50; i++) {
        const { sopClassUid, transferSyntaxUid, ref, dataSet } = makeInstance({ rows: 512, columns: 512 });
        const startedAtMs = performance.now();
        const { status } = await association.store({
          sopClassUid,
          transferSyntaxUid,
          sopInstanceUid: ref.sopInstanceUid,
          dataSet,
        });
        expect(status).toBe(0);
        tookMs.push(performance.now() - startedAtMs);
      }
      await association.release();
      for (const raw of slow) raw.destroy();
      return `honest C-STORE of 512 KiB p50 ${percentile(tookMs, 0.5).toFixed(0)} ms, longest ${Math.max(...tookMs).toFixed(0)} ms`;
    });
  });

  it('requests without end whose answers nobody reads are no longer read', async () => {
    await besideAnHonestPeer('unlimited operations, nothing read', async () => {
      const greedy = await Promise.all(
        Array.from({ length: 16 }, async () => {
          const raw = new RawPeer(site.dicomPort, HOSTILE);
          await raw.associate({ asynchronousOperations: { invoked: 0, performed: 0 }, maxPduBytes: 0xffffffff });
          raw.socket.pause();
          return raw;
        }),
      );
      const echoes = Buffer.concat(Array.from({ length: 5_000 }, (_, i) => echoPdu(i + 1)));
      const endMs = performance.now() + 10_000;
      let written = 0;
      while (performance.now() < endMs) {
        for (const raw of greedy)
          if (!raw.isClosed && !raw.socket.writableNeedDrain) {
            raw.socket.write(echoes);
            written += echoes.length;
          }
        await pause(5);
      }
      for (const raw of greedy) raw.destroy();
      return `${Math.round(written / 1024 / 1024)} MiB of requests taken`;
    });
  });
});

it('what was taken of all that is archived in the cloud like everything else', async () => {
  await site.waitUntilDrained(600_000);
  console.log(`all archived; the gateway's RSS is ${Math.round(rssBytes() / 1024 / 1024)} MiB`);
});
