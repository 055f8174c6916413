import { TallyError } from '../../shared/errors.ts';
import { cannotListen } from '../../shared/http/cannot-listen.ts';
import { isGiven } from '../../shared/process/config.ts';
import { reservePort, type ReservedPort } from '../embedded/ports.ts';

type PortVariable = 'DASHBOARD_PORT' | 'PRODUCER_PORT';

/**
 * The port of a process that `tally start` starts. It is held from the moment it is chosen until
 * the process is started. If somebody else takes it before the process listens, another one is
 * chosen for the next start, and after two failed starts in any case.
 */
export class UsablePort {
  readonly #variable: PortVariable;
  readonly #host: string;
  readonly #say: (line: string) => void;
  #reserved: ReservedPort;

  /**
   * Takes the wanted port. If it is in use, takes another one, unless the user has set the port's
   * variable.
   * @param host where the process is to listen: a port that is free on one address may be taken on
   *   another
   * @throws TallyError PORT_IN_USE, CANNOT_LISTEN
   */
  static async choose(
    variable: PortVariable,
    wanted: number,
    host: string,
    say: (line: string) => void,
  ): Promise<UsablePort> {
    const reserved = await reservePort(wanted === 0 ? undefined : wanted, host).catch(
      (error: NodeJS.ErrnoException) => {
        throw cannotListen(error, host, wanted, variable);
      },
    );
    const port = new UsablePort(variable, host, reserved, say);
    if (reserved.port === wanted || wanted === 0) return port;
    if (isGiven(variable)) {
      await reserved.release();
      throw new TallyError(
        'PORT_IN_USE',
        `port ${wanted} on ${host} is in use; set ${variable} to another one`,
      );
    }
    port.#sayInstead(`Port ${wanted} is in use`);
    return port;
  }

  private constructor(
    variable: PortVariable,
    host: string,
    reserved: ReservedPort,
    say: (line: string) => void,
  ) {
    this.#variable = variable;
    this.#host = host;
    this.#reserved = reserved;
    this.#say = say;
  }

  get number(): number {
    return this.#reserved.port;
  }

  /** Frees the port for the process that starts now. @returns the environment for it */
  async handOver(failedStarts: number): Promise<NodeJS.ProcessEnv> {
    if (failedStarts > 0 && !isGiven(this.#variable)) {
      const before = this.number;
      // A rival that starts at the same time finds the port free whenever it is handed over, and two
      // that insist on it would take it from each other again and again.
      const keeps = failedStarts === 1;
      this.#reserved = await reservePort(keeps ? before : undefined, this.#host);
      if (this.number !== before) {
        this.#sayInstead(
          keeps ? `Port ${before} is in use` : `Two starts on port ${before} failed`,
        );
      }
    }
    await this.#reserved.release();
    return { [this.#variable]: String(this.number) };
  }

  #sayInstead(reason: string): void {
    this.#say(`${reason}; using ${this.number} (set ${this.#variable} to choose).`);
  }
}
