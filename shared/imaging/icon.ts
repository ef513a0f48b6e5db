/**
 * A picture for what has none: a sheet of paper with a folded corner and a word on it, as a frame that can be rendered like any
 * other. Lists of series show one for reports, documents, video and whatever else holds no pixels.
 */
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { drawText } from './annotation.ts';
import type { ImageAttributes } from './image-attributes.ts';
import type { RenderRequest } from './render.ts';
import type { Picture } from './resample.ts';

export type IconShape = 'document' | 'video' | 'waveform' | 'picture';

const SIDE = 200;
const GROUND = 32;
const PAPER = 226;
const SHADE = 168;
const INK = 48;
const SHEET = { left: 45, top: 22, right: 155, bottom: 178, fold: 30 } as const;

/** @param word of at most eight characters: what it is, such as `PDF` or a modality */
export function iconFrame(
  word: string,
  shape: IconShape,
): Pick<RenderRequest, 'frame' | 'transferSyntaxUid' | 'attributes'> {
  const pixels = new Uint8Array(SIDE * SIDE).fill(GROUND);
  const set = (x: number, y: number, value: number): void => {
    if (x >= 0 && x < SIDE && y >= 0 && y < SIDE) pixels[Math.round(y) * SIDE + Math.round(x)] = value;
  };
  drawSheet(set);
  drawShape(shape, set);
  const label = word.slice(0, 8).toUpperCase();
  const scale = label.length <= 3 ? 5 : label.length <= 5 ? 3 : 2;
  const width = (label.length * 6 - 1) * scale;
  const picture: Picture = { width: SIDE, height: SIDE, channels: 1, pixels };
  drawText(picture, label, { x: Math.round((SIDE - width) / 2), y: 148 - Math.round((7 * scale) / 2), scale }, INK);
  return { frame: pixels, transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN, attributes };
}

/** Eight bits of gray that are shown as they are. */
const attributes: ImageAttributes = {
  rows: SIDE,
  columns: SIDE,
  samplesPerPixel: 1,
  photometricInterpretation: 'MONOCHROME2',
  planarConfiguration: 0,
  bitsAllocated: 8,
  bitsStored: 8,
  highBit: 7,
  signed: false,
  pixelKind: 'integer',
  pixelDataVr: 'OB',
  modality: { kind: 'linear', slope: 1, intercept: 0 },
  windows: [{ center: 128, width: 256, function: 'LINEAR' }],
  voiTables: [],
  inverse: false,
  padding: undefined,
  palette: undefined,
};

type Set = (x: number, y: number, value: number) => void;

function drawSheet(set: Set): void {
  const { left, top, right, bottom, fold } = SHEET;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const beyondFold = x - (right - fold) - (y - top);
      if (beyondFold < 0 || y - top >= fold) set(x, y, PAPER);
      if (x >= right - fold && y - top < fold && beyondFold < 0) set(x, y, SHADE);
    }
  }
}

function drawShape(shape: IconShape, set: Set): void {
  if (shape === 'video') {
    for (let y = 0; y < 48; y++) for (let x = 0; x < 44 - Math.abs(y - 24) * 1.8; x++) set(80 + x, 66 + y, INK);
  } else if (shape === 'waveform') {
    for (let x = 60; x < 140; x++) {
      const beat = (x - 60) % 40;
      const height = beat < 14 ? 0 : beat < 18 ? -(beat - 14) * 7 : beat < 26 ? -28 + (beat - 18) * 6 : beat < 30 ? 20 - (beat - 26) * 5 : 0; // biome-ignore format: a curve
      for (let y = 0; y < 8; y++) for (let dx = 0; dx < 2; dx++) set(x + dx, 90 + height + y, INK);
    }
  } else if (shape === 'picture') {
    for (let y = 66; y < 114; y++) {
      for (let x = 64; x < 136; x++) {
        const isFrame = y < 69 || y >= 111 || x < 67 || x >= 133;
        const isHill = y - 72 > Math.abs(x - 88) * 1.1 + 10 || y - 72 > Math.abs(x - 116) * 1.3 + 20;
        if (isFrame || isHill) set(x, y, INK);
      }
    }
  } else {
    for (let line = 0; line < 5; line++) {
      for (let x = 62; x < (line === 4 ? 110 : 138); x++) for (let y = 0; y < 4; y++) set(x, 66 + line * 12 + y, SHADE);
    }
  }
}
