/**
 * Orthanc as an independent peer: a server of its own on free ports over a temporary folder, asked over its REST interface. What
 * it is to know of others is given at its start; DICOM and HTTP are for this machine only.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts, gone, until } from '#test/support/system.ts';

export interface OrthancOptions {
  readonly aeTitle?: string;
  /** Other AEs by the name under which the REST interface knows them. */
  readonly modalities?: Readonly<Record<string, { readonly aeTitle: string; readonly port: number }>>;
  /** More of its configuration, or other values. */
  readonly configuration?: Readonly<Record<string, unknown>>;
}

export class Orthanc implements AsyncDisposable {
  readonly aeTitle: string;
  readonly dicomPort: number;
  readonly url: string;
  readonly #folder: string;
  readonly #child: ChildProcess;

  private constructor(aeTitle: string, ports: { dicomPort: number; httpPort: number }, folder: string) {
    this.aeTitle = aeTitle;
    this.dicomPort = ports.dicomPort;
    this.url = `http://127.0.0.1:${ports.httpPort}`;
    this.#folder = folder;
    this.#child = spawn('Orthanc', [join(folder, 'orthanc.json')], { stdio: ['ignore', 'pipe', 'pipe'] });
    const log = createWriteStream(join(folder, 'orthanc.log'));
    this.#child.stdout?.pipe(log, { end: false });
    this.#child.stderr?.pipe(log, { end: false });
  }

  /** Resolves when it answers. */
  static async start(options: OrthancOptions = {}): Promise<Orthanc> {
    const folder = mkdtempSync(join(tmpdir(), 'archipel-orthanc-'));
    const [dicomPort, httpPort] = (await freePorts(2)) as [number, number];
    const aeTitle = options.aeTitle ?? 'ORTHANC';
    const modalities = Object.entries(options.modalities ?? {}).map(([name, modality]) => [
      name,
      { AET: modality.aeTitle, Host: '127.0.0.1', Port: modality.port, AllowStorageCommitment: true },
    ]);
    const configuration = {
      Name: 'test',
      StorageDirectory: join(folder, 'storage'),
      IndexDirectory: join(folder, 'index'),
      HttpPort: httpPort,
      RemoteAccessAllowed: false,
      AuthenticationEnabled: false,
      DicomAet: aeTitle,
      DicomPort: dicomPort,
      DicomModalities: Object.fromEntries(modalities),
      ...options.configuration,
    };
    writeFileSync(join(folder, 'orthanc.json'), JSON.stringify(configuration));
    const orthanc = new Orthanc(aeTitle, { dicomPort, httpPort }, folder);
    await until(
      () => `Orthanc to answer; it says ${orthanc.said}`,
      30_000,
      async () => {
        if (orthanc.#child.exitCode !== null) throw new Error(`Orthanc ended: ${orthanc.said}`);
        return await fetch(`${orthanc.url}/system`).then(
          (response) => response.ok,
          () => false,
        );
      },
    );
    return orthanc;
  }

  /** The last of what it has logged. */
  get said(): string {
    return readFileSync(join(this.#folder, 'orthanc.log'), 'utf8').slice(-10_000);
  }

  async get<T>(path: string): Promise<T> {
    const response = await fetch(this.url + path);
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  /** Bytes go as they are, anything else as JSON. */
  async post<T>(path: string, body: unknown): Promise<T> {
    const isBytes = body instanceof Uint8Array;
    const response = await fetch(this.url + path, {
      method: 'POST',
      body: isBytes ? Buffer.from(body) : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${text}`);
    return JSON.parse(text) as T;
  }

  async stop(): Promise<void> {
    const { pid } = this.#child;
    if (this.#child.exitCode === null && pid !== undefined) {
      this.#child.kill('SIGTERM');
      await gone([pid]);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
