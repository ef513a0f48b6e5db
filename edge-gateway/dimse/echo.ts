/** Verification service class as SCP (PS3.4 Annex A): C-ECHO is answered Success, on whatever context it comes. */
import { answerWith, type Service } from './service.ts';
import { success } from './status.ts';

export const echoService: Service = () => answerWith(success);
