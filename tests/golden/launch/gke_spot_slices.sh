cat > run1.jobset.yaml <<'END'
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: run1
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: 10
    restartStrategy: BlockingRecreate
    rules:
    - name: usersError
      action: FailJobSet
      onJobFailureReasons:
      - PodFailurePolicy
  replicatedJobs:
  - name: host
    replicas: 2
    template:
      spec:
        parallelism: 64
        completions: 64
        completionMode: Indexed
        backoffLimit: 0
        podReplacementPolicy: Failed
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes:
              containerName: emojax
              operator: In
              values:
              - 2
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            securityContext:
              fsGroup: 1000
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: tpu-v5-lite-podslice
              cloud.google.com/gke-tpu-topology: 16x16
              cloud.google.com/gke-spot: 'true'
            tolerations:
            - key: google.com/tpu
              operator: Exists
              effect: NoSchedule
            - key: cloud.google.com/gke-spot
              operator: Equal
              value: 'true'
              effect: NoSchedule
            containers:
            - name: emojax
              image: registry/emojax:1
              command:
              - emojax
              args:
              - train
              - --config
              - base
              - --out
              - gs://bucket/run1
              - --resume
              - --processes
              - '128'
              resources:
                limits:
                  google.com/tpu: 4
END
kubectl apply --filename=run1.jobset.yaml
