// Yugen's own hooks under the names of those of convex/react, so that the same pages are run with both.

import { YugenClient } from "yugen";
import * as hooks from "yugen/react";

export {
  Authenticated,
  AuthLoading,
  insertAtBottomIfLoaded,
  insertAtPosition,
  insertAtTop,
  optimisticallyUpdateValueInPaginatedQuery,
  Unauthenticated,
  useAction,
  useMutation,
  usePaginatedQuery,
  useQueries,
  useQuery,
  useYugenAuth as useConvexAuth,
  useYugen as useConvex,
  YugenProvider as ConvexProvider,
  YugenProviderWithAuth as ConvexProviderWithAuth,
} from "yugen/react";

export { YugenClient as ConvexReactClient };

// How many actions wait is not told apart from mutations; these pages have one or the other.
export function useConvexConnectionState() {
  const { status, connections, pendingRequests } = hooks.useConnectionState();
  return {
    isWebSocketConnected: status === "connected",
    connectionCount: connections,
    hasInflightRequests: pendingRequests > 0,
    inflightActions: pendingRequests,
  };
}
