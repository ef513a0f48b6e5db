/**
 * Parameters as capabilities and OpenAPI describe them: those that most resources take, and those of rendered resources (PS3.18 §8.3.5)
 * and of WADO-URI (chapter 9). Reading them is elsewhere.
 */
import type { Parameter, Schema } from './operation.ts';

export const accept: Parameter = {
  name: 'accept',
  in: 'query',
  description:
    'The media types wanted, in place of the Accept header field, which links cannot set; it wins (PS3.18 §8.3.3.1).',
  schema: { type: 'string', maxLength: 4096 },
  example: 'application/dicom+json',
};
export const ifNoneMatch: Parameter = {
  name: 'If-None-Match',
  in: 'header',
  description: 'Entity tags that the client holds; if one of them is still right the answer is 304.',
  schema: { type: 'string' },
  example: '"2jmj7l5rSw0yVb_vlWAYkK_YBwk"',
};
export const range: Parameter = {
  name: 'Range',
  in: 'header',
  description: 'One range of bytes. Several ranges at once are answered with the whole.',
  schema: { type: 'string' },
  example: 'bytes=0-1023',
};
export const ifRange: Parameter = {
  name: 'If-Range',
  in: 'header',
  description: 'The range is wanted only if this entity tag is still right; else the whole is given.',
  schema: { type: 'string' },
  example: '"2jmj7l5rSw0yVb_vlWAYkK_YBwk"',
};

export const query = (
  name: string,
  description: string,
  schema: Schema,
  example: string | number | boolean,
): Parameter => ({
  name,
  in: 'query',
  description,
  schema,
  example,
});

export const viewport = query(
  'viewport',
  'Size of the picture, and the part of the frame to show: width,height[,x,y,width,height].',
  { type: 'string' },
  '512,512',
);
export const renderParameters: readonly Parameter[] = [
  query(
    'window',
    'center,width,function of the VOI LUT; the function is linear, linear-exact or sigmoid.',
    { type: 'string' },
    '40,400,linear',
  ),
  viewport,
  query('quality', 'Of lossy compression.', { type: 'integer', minimum: 1, maximum: 100 }, 90),
  query('bitdepth', 'Of gray as image/png: 8 or 16 bits.', { type: 'integer', enum: [8, 16] }, 16),
  query('annotation', 'What is to be burnt in: patient, technique.', { type: 'string' }, 'patient'),
  query('iccprofile', 'no, yes, srgb, adobergb or rommrgb.', { type: 'string' }, 'srgb'),
];

const text = { type: 'string' } as const;
/** Of one image or its frames; an extension. */
export const treatmentParameters: readonly Parameter[] = [
  query(
    'presentationUID',
    'SOP Instance UID of a presentation state, in the study of the image, to apply.',
    text,
    '1.2.3.4.6',
  ),
  query('presentationSeriesUID', 'Series Instance UID of that presentation state.', text, '1.2.3.5'),
  query(
    'segmentationUID',
    'SOP Instance UID of a segmentation, in the study of the image, to lay over it.',
    text,
    '1.2.3.4.7',
  ),
  query('segmentationSeriesUID', 'Series Instance UID of that segmentation.', text, '1.2.3.6'),
  query('segmentNumbers', 'Which of its segments; all by default.', text, '1,3'),
];
const number = { type: 'number', exclusiveMinimum: 0 } as const;
/** Of rendered3d (§8.3.5.3); renderedmpr has more. */
export const volumeParameters: readonly Parameter[] = [
  query(
    'volumeinputreference',
    'UIDs of series or instances, or frames of the instance in the path, that the volume is made of or is a part of.',
    text,
    '1.2.3.4',
  ),
  query(
    'match',
    'An attribute and its value, of the frames that the volume is made of; or the attribute is the parameter.',
    text,
    'AcquisitionNumber=2',
  ),
  query('renderingmethod', 'maximum_ip, minimum_ip or average_ip.', text, 'maximum_ip'),
  query('orientation', 'Where the camera is: a, p, r, l, h, f; or axial, coronal, sagittal.', text, 'coronal'),
  query('viewpointposition', 'x,y,z in mm: where the camera is.', text, '0,-1,0'),
  query('viewpointlookat', 'x,y,z in mm: the middle of the picture.', text, '0,0,0'),
  query('viewpointup', 'x,y,z: what is up in the picture.', text, '0,0,1'),
  query('swivelrange', 'Degrees by which the view turns to and fro.', number, 180),
  query('animationstepsize', 'From picture to picture, in degrees or mm.', number, 6),
  query('animationrate', 'Pictures a second.', number, 10),
  query('renderedvolumetricmetadata', 'yes: in words what would be rendered.', text, 'yes'),
];
export const mprParameters: readonly Parameter[] = [
  ...volumeParameters,
  query('mprslab', 'Thickness of the slab in mm.', number, 20),
  query('volumetriccurvepoint', 'x,y,z in mm: where an animation ends that begins at viewpointlookat.', text, '0,0,50'),
];
const [presentationUid, presentationSeriesUid] = treatmentParameters as [Parameter, Parameter, ...Parameter[]];
export const uriParameters: readonly Parameter[] = [
  query('requestType', 'Always WADO.', text, 'WADO'),
  query('studyUID', 'Study Instance UID.', text, '1.2.3'),
  query('seriesUID', 'Series Instance UID.', text, '1.2.3.4'),
  query('objectUID', 'SOP Instance UID.', text, '1.2.3.4.5'),
  query('contentType', 'The media types wanted; application/dicom for the instance itself.', text, 'image/jpeg'),
  query('transferSyntax', 'Of application/dicom.', text, '1.2.840.10008.1.2.1'),
  query('frameNumber', 'From 1.', { type: 'integer', minimum: 1 }, 1),
  query('rows', 'Of the picture.', { type: 'integer', minimum: 1 }, 512),
  query('columns', 'Of the picture.', { type: 'integer', minimum: 1 }, 512),
  query('region', 'left,top,right,bottom of the frame, each from 0 to 1.', text, '0,0,0.5,0.5'),
  query('windowCenter', 'Goes with windowWidth.', { type: 'number' }, 40),
  query('windowWidth', 'Goes with windowCenter.', { type: 'number' }, 400),
  query('imageQuality', 'Of lossy compression.', { type: 'integer', minimum: 1, maximum: 100 }, 90),
  query('annotation', 'What is to be burnt in: patient, technique.', text, 'patient'),
  presentationUid,
  presentationSeriesUid,
];
